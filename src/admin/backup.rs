//! `GET /api/v1/backup`: the whole store, as it is, while the broker goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::api::State;
use super::problem::Problem;

/// Bytes that are read and sent at once.
const PART: usize = 64 * 1024;

/// Where the copy lies while it is made; it has no name while it is sent.
const NAME: &str = "noctule.backup";

pub(super) async fn backup(extract::State(state): extract::State<State>) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&state.backing_up).try_acquire_owned() else {
        return Err(Problem::new(StatusCode::CONFLICT, "a backup is being made already"));
    };
    // Until it is made, even if nobody waits for it any more, and until it is sent: it takes its room on the disk so long.
    let place = Arc::new(place);
    let path = state.data_dir.join(NAME);
    let failed = |error: io::Error| {
        let detail = format!("no room for a copy at {}: {error}", path.display());
        Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail)
    };
    let about = rustix::fs::statvfs(&*state.data_dir).map_err(|error| failed(error.into()))?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let needed = state.inspector.store().map_or(0, |store| store.totals().file_bytes) + state.min_free;
    if free < needed {
        let detail = format!(
            "{free} bytes are free beside the store, and a copy wants {needed} (with store.min_free)"
        );
        return Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail));
    }
    let (of_broker, mut own) = nameless(&path).map_err(failed)?;
    let nothing = || Problem::new(StatusCode::CONFLICT, "nothing is stored here (store.durability)");
    let copied = state.inspector.back_up(of_broker, Arc::clone(&place)).await.ok_or_else(nothing)?;
    let size = copied.map_err(|error| Problem::new(StatusCode::INSUFFICIENT_STORAGE, error))?;
    own.rewind().map_err(failed)?;
    tracing::info!(bytes = size, "an operator takes a backup of the store");
    let mut response = Body::new(Copied { file: own, left: size, _place: place }).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"noctule-backup.redb\""),
    );
    Ok(response)
}

/// A file that goes when nobody has it open any more, twice.
fn nameless(path: &Path) -> io::Result<(File, File)> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // What a broker left that was killed meanwhile.
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    fs::remove_file(path)?;
    Ok((file.try_clone()?, file))
}

/// A copy on its way. Parts are read as they are sent, out of the system's cache, where they have just been written.
struct Copied {
    file: File,
    left: u64,
    _place: Arc<OwnedSemaphorePermit>,
}

impl hyper::body::Body for Copied {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        // At most PART, so it fits.
        let mut part = vec![0; self.left.min(PART as u64) as usize];
        let read = self.file.read_exact(&mut part);
        self.left -= part.len() as u64;
        Poll::Ready(Some(read.map(|()| Frame::data(part.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
