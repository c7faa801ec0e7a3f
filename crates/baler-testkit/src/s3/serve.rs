//! The HTTP side: listens, counts, plays faults around the protocol library, resets connections.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use baler_store::{Clock, SystemClock};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::faults::{ErrorAnswer, Fault};
use super::op::{Target, target};
use super::service::Service;
use super::{Access, Op, RequestRecord, Shared};

type AnswerBody = UnsyncBoxBody<Bytes, s3s::StdError>;
type Answer = Response<AnswerBody>;

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset, as asked for")]
struct Reset;

/// Listens; the handle stops the listener and all its connections.
pub(super) async fn start(shared: Arc<Shared>) -> std::io::Result<(SocketAddr, AbortHandle)> {
    let port = shared.state.options.read().port;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let addr = listener.local_addr()?;
    let service = build(&shared);
    let serving = tokio::spawn(async move {
        // Dropped with this task, the set ends its connections.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, shared.clone(), service.clone()));
                    }
                    // Out of file descriptors, or the peer was gone at once: neither ends the server.
                    Err(error) => {
                        tracing::debug!(%error, "a connection was not accepted");
                        SystemClock.sleep(Duration::from_millis(10)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok((addr, serving.abort_handle()))
}

fn build(shared: &Arc<Shared>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Service { shared: shared.clone() });
    let options = shared.state.options.read();
    match options.access {
        Access::Signed => {
            builder.set_auth(SimpleAuth::from_single(options.access_key.clone(), options.secret_key.clone()));
        }
        Access::Open => {}
    }
    // The list of 10,000 parts of a completion is longer than the library's limit would suggest; it is the default.
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(S3Config::default()))));
    builder.build()
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, service: S3Service) {
    // Without it, answers in two writes wait for the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no `TCP_NODELAY`");
    }
    let reset = Arc::new(AtomicBool::new(false));
    let handler = service_fn({
        let reset = reset.clone();
        move |request: Request<Incoming>| {
            let (shared, service, reset) = (shared.clone(), service.clone(), reset.clone());
            Box::pin(async move {
                let result = handle(&shared, &service, request).await;
                reset.store(result.is_err(), Ordering::Relaxed);
                result
            })
        }
    });
    let mut serving = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), handler);
    // A body that breaks off ends with the connection's orderly end, so that what was sent of it arrives.
    if (&mut serving).await.is_err() && reset.load(Ordering::Relaxed) {
        let stream = serving.into_parts().io.into_inner();
        if let Err(error) = stream.set_zero_linger() {
            tracing::debug!(%error, "no reset");
        }
    }
}

async fn handle(shared: &Shared, service: &S3Service, request: Request<Incoming>) -> Result<Answer, Reset> {
    let target = target(request.method(), request.uri(), request.headers());
    let mut record = RequestRecord {
        op: target.op,
        bucket: target.bucket.clone(),
        key: target.key.clone(),
        status: 0,
        bytes_in: 0,
        bytes_out: 0,
    };
    let result = answer(shared, service, request, &target, &mut record).await;
    if let Ok(answer) = &result {
        record.status = answer.status().as_u16();
        let head = matches!(target.op, Op::HeadObject | Op::HeadBucket);
        record.bytes_out = if head { 0 } else { answer.body().size_hint().exact().unwrap_or(0) };
    }
    shared.requests.lock().push(record);
    result
}

async fn answer(
    shared: &Shared,
    service: &S3Service,
    request: Request<Incoming>,
    target: &Target,
    record: &mut RequestRecord,
) -> Result<Answer, Reset> {
    let number = shared.state.next_number();
    let (delay, name) = {
        let options = shared.state.options.read();
        (options.first_byte_delay, options.server_name.clone())
    };
    let fault = shared.faults.lock().strike(target.op, &target.key);
    // The body is read even if the call fails: a client that is still sending would see a broken pipe instead.
    let (parts, body) = request.into_parts();
    let body = collect(body).await.map_err(|_| Reset)?;
    record.bytes_in = body.len() as u64;
    if !delay.is_zero() {
        SystemClock.sleep(delay).await;
    }
    let call = async || {
        let request = Request::from_parts(parts, s3s::Body::from(body));
        let answer = service.call(request).await.map_err(|_| Reset)?;
        Ok(answer.map(|body| body.boxed_unsync()))
    };
    let mut answer = match fault {
        None => call().await?,
        Some(Fault::Delay(time)) => {
            SystemClock.sleep(time).await;
            call().await?
        }
        Some(Fault::ResetBefore) => return Err(Reset),
        Some(Fault::ResetAfter) => {
            drop(call().await?);
            return Err(Reset);
        }
        Some(Fault::ErrorBefore(error)) => error_answer(error, number),
        Some(Fault::ErrorAfter(error)) => {
            drop(call().await?);
            error_answer(error, number)
        }
        Some(Fault::ErrorInBody) => error_in_body(number),
        Some(Fault::ErrorInBodyAfter) => {
            drop(call().await?);
            error_in_body(number)
        }
        Some(Fault::TruncateBody(keep)) => call().await?.map(|body| {
            let end = Box::pin(SystemClock.sleep(Duration::from_millis(20)));
            Truncated { promised: body.size_hint(), inner: body, keep, end }.boxed_unsync()
        }),
    };
    let headers = answer.headers_mut();
    if let Ok(id) = format!("{number:016X}").parse() {
        headers.insert("x-amz-request-id", id);
    }
    if let Ok(name) = name.parse() {
        headers.insert("server", name);
    }
    Ok(answer)
}

async fn collect(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let expected = body.size_hint().exact().unwrap_or(0);
    let mut all = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0).min(64 << 20));
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            all.extend_from_slice(&bytes);
        }
    }
    Ok(all.freeze())
}

fn error_text(code: &str, message: &str, number: u64) -> Bytes {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <RequestId>{number:016X}</RequestId></Error>"
    )
    .into()
}

fn xml_answer(status: u16, text: Bytes) -> Answer {
    let never = |never: Infallible| -> s3s::StdError { match never {} };
    let body = if text.is_empty() {
        Empty::new().map_err(never).boxed_unsync()
    } else {
        Full::new(text).map_err(never).boxed_unsync()
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).expect("the statuses of faults are valid");
    answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/xml"));
    answer
}

fn error_answer(error: ErrorAnswer, number: u64) -> Answer {
    let (status, code, message) = error.parts();
    xml_answer(status, error_text(code, message, number))
}

fn error_in_body(number: u64) -> Answer {
    let (_, code, message) = ErrorAnswer::Internal.parts();
    xml_answer(200, error_text(code, message, number))
}

/// A body that promises its whole length and breaks off.
struct Truncated {
    inner: AnswerBody,
    promised: SizeHint,
    keep: u64,
    /// What was sent needs a moment to leave: an error at once would take it back.
    end: BoxFuture<'static, ()>,
}

impl Body for Truncated {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, s3s::StdError>>> {
        if self.keep == 0 {
            return self.end.as_mut().poll(context).map(|()| Some(Err(Box::new(Reset).into())));
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let Ok(mut bytes) = frame.into_data() else { return Poll::Ready(Some(Err(Box::new(Reset)))) };
                bytes.truncate(usize::try_from(self.keep).unwrap_or(usize::MAX));
                self.keep -= bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            other => other,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.promised
    }
}
