//! The dashboard: files that are part of the program, and need nothing from anywhere else.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// A file of the dashboard.
#[derive(Debug)]
struct Asset {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal = $media_type:expr),* $(,)?) => {
        &[$(Asset {
            path: concat!("/", $name),
            media_type: $media_type,
            bytes: include_bytes!(concat!("../../dashboard/", $name)),
        }),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Everything that a browser may ask for.
const ASSETS: &[Asset] = assets![
    "index.html" = "text/html; charset=utf-8",
    "dashboard.css" = "text/css; charset=utf-8",
    "icon.svg" = "image/svg+xml",
    "api.js" = SCRIPT,
    "chart.js" = SCRIPT,
    "dashboard.js" = SCRIPT,
    "dom.js" = SCRIPT,
    "format.js" = SCRIPT,
    "lists.js" = SCRIPT,
    "live.js" = SCRIPT,
    "metrics.js" = SCRIPT,
    "overview.js" = SCRIPT,
    "topics.js" = SCRIPT,
    "try.js" = SCRIPT,
];

/// Nothing from elsewhere, no script or style but those files, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

fn asset(path: &str) -> Option<&'static Asset> {
    let path = if path == "/" { "/index.html" } else { path };
    ASSETS.iter().find(|asset| asset.path == path)
}

/// Whether the page needs it before anybody has logged in.
pub(super) fn has(path: &str) -> bool {
    asset(path).is_some()
}

/// A file, if there is one of that name: names are compared as a whole, so no path leads anywhere else.
pub(super) fn file(uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let asset = asset(uri.path())?;
    // As it was at its first use: files that are compiled in do not change.
    let tag = format!("\"{:08x}\"", crc32fast::hash(asset.bytes));
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response =
        if is_known { StatusCode::NOT_MODIFIED.into_response() } else { asset.bytes.into_response() };
    let told = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in told {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Some(response)
}
