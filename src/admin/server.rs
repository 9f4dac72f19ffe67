//! HTTP/1.1 on the sockets: so many connections, each with so much time.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower_service::Service;

use super::AdminError;
use super::guard::{Door, Encrypted};
use super::patient::Patient;
use super::problem::Problem;
use crate::net::Bound;
use crate::reactor::{Credentials, Origin, Socket};
use crate::tls::Acceptor;
use crate::tls::telemetry::{Handshake, Listener};

/// Most connections at a time to each socket; more are closed at once. Each has places of its own, so that nobody who reaches
/// a port keeps out who has the right to the Unix socket.
const MAX_CONNECTIONS: usize = 64;

/// How long a request's head may take, and the wait for the next request on a connection.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// How long a request may take, from its head to its answer.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The same for a backup, which is made before it is answered: a gigabyte on a slow card.
const BACKUP_TIME: Duration = Duration::from_secs(1_800);

/// Largest head of a request, bytes.
const MAX_HEAD: usize = 16 * 1024;

/// How long nothing is accepted after the system had no descriptor left.
const REST: Duration = Duration::from_millis(500);

/// Serves `router` on all of `bound`, as tasks of the current runtime; with certificates, TLS is spoken on TCP.
pub(super) fn serve(
    bound: Vec<(Arc<Bound>, Door)>,
    certificates: Option<&Arc<Acceptor>>,
    router: &Router,
) -> Result<(), AdminError> {
    if certificates.is_some() {
        Listener::Admin.is_served();
    }
    for (bound, door) in bound {
        let watch = |error| AdminError::Watch { address: bound.address.clone(), error };
        let (router, places) = (router.clone(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        match bound.socket.try_clone().map_err(watch)? {
            Socket::Tcp(socket) => {
                let listener = TcpListener::from_std(socket).map_err(watch)?;
                let certificates = certificates.cloned();
                tokio::spawn(async move {
                    let _bound = bound;
                    loop {
                        let accepted = listener.accept().await;
                        let accepted = accepted.map(|(stream, from)| (stream, (Origin::Net(from), door)));
                        admit(accepted, certificates.as_ref(), &router, &places).await;
                    }
                });
            }
            Socket::Unix(socket) => {
                let listener = UnixListener::from_std(socket).map_err(watch)?;
                tokio::spawn(async move {
                    let _bound = bound;
                    loop {
                        let accepted = listener.accept().await;
                        let accepted = accepted.map(|(stream, _)| {
                            let credentials = stream.peer_cred().ok().map(|found| Credentials {
                                uid: found.uid(),
                                gid: found.gid(),
                                pid: found.pid(),
                            });
                            (stream, (Origin::Unix(credentials), door))
                        });
                        admit(accepted, None, &router, &places).await;
                    }
                });
            }
        }
    }
    Ok(())
}

/// Has an accepted connection served, if there is a place for it.
async fn admit<S>(
    accepted: io::Result<(S, (Origin, Door))>,
    certificates: Option<&Arc<Acceptor>>,
    router: &Router,
    places: &Arc<Semaphore>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match accepted {
        Ok((stream, (peer, door))) => match Arc::clone(places).try_acquire_owned() {
            Ok(place) => {
                let (router, certificates) = (router.clone(), certificates.map(|known| known.config()));
                tokio::spawn(async move {
                    match certificates.map(TlsAcceptor::from) {
                        None => connection(stream, (peer, door), false, router).await,
                        Some(acceptor) => match timeout(HEAD_TIME, shake_hands(stream, &acceptor)).await {
                            Ok(Ok(Some(stream))) => connection(stream, (peer, door), true, router).await,
                            Ok(Ok(None)) => {}
                            Ok(Err(error)) => {
                                tracing::debug!(peer = %peer, "no TLS with an operator: {error}");
                            }
                            Err(_) => tracing::debug!(peer = %peer, "no TLS with an operator in time"),
                        },
                    }
                    drop(place);
                });
            }
            Err(_) => {
                tracing::warn!(peer = %peer, "{MAX_CONNECTIONS} connections of operators are open: no more is let in");
            }
        },
        Err(error) => {
            tracing::warn!("no operator can be let in: {error}");
            tokio::time::sleep(REST).await;
        }
    }
}

/// TLS, counted as soon as something has come.
async fn shake_hands<S>(stream: S, acceptor: &TlsAcceptor) -> io::Result<Option<TlsStream<BufReader<S>>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    // Who goes without a word has only looked whether somebody listens.
    if stream.fill_buf().await?.is_empty() {
        return Ok(None);
    }
    let handshake = Handshake::begin(Listener::Admin);
    let stream = acceptor.accept(stream).await?;
    handshake.done();
    Ok(Some(stream))
}

fn connection<S>(
    stream: S,
    (peer, door): (Origin, Door),
    encrypted: bool,
    router: Router,
) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(door);
        request.extensions_mut().insert(Encrypted(encrypted));
        let mut router = router.clone();
        let time = if request.uri().path() == "/api/v1/backup" { BACKUP_TIME } else { REQUEST_TIME };
        async move {
            let answer = Service::<Request<Body>>::call(&mut router, request.map(Body::new));
            let answer = match timeout(time, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(never)) => match never {},
                Err(_) => {
                    let status = axum::http::StatusCode::REQUEST_TIMEOUT;
                    Problem::new(status, "the request has taken too long to come or to be answered")
                        .into_response()
                }
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream)), service)
        .with_upgrades();
    async move {
        if let Err(error) = serving.await {
            tracing::debug!(peer = %peer, "connection of an operator failed: {error}");
        }
    }
}
