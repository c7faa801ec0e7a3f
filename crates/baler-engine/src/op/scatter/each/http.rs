//! Records answered for by a server: an array in, an array out, in the same order.
//!
//! A request that fails is sent again; then its records are sent one by one, so that the one to blame is known, which fails with
//! what the server said. Each request and each record has a key by which a server knows what it has done before.
//!
//! A server that cannot be reached, or says that it has no time (425, 429, 503) or that what stands before it got no answer
//! (408, 502, 504), is no record's fault: it is waited for, then the chunk fails, and is tried again. Where nothing at all comes
//! back, that may be one record's doing: it is asked again behind all others of its window, and fails where the server answered
//! something else meanwhile. After a few such records in a row, or where nothing else was answered, the chunk fails.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use baler_model::ledger::Failure;
use baler_store::{Clock, Crc64, PostError, Posted, Poster};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::super::records::Window;
use super::{Answer, Identity, not_now, question};
use crate::error::TaskError;

/// How often a request is sent, and how often one of a single record.
const TRIES: u32 = 4;
const TRIES_OF_ONE: u32 = 2;
/// How often one is sent to a server that cannot be reached or has no time: over ten seconds.
const TRIES_OF_GONE: u32 = 8;
/// Before the second try; it doubles, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(4);
/// A server that wants to be left alone for longer is asked after so long.
const LEFT_ALONE: Duration = Duration::from_secs(30);
/// So many single records in a row to which nothing comes back are the server's fault.
const SILENT: u32 = 3;
const CONNECT: Duration = Duration::from_secs(10);
/// So much is told of what a server says.
const SAID: usize = 300;

const HINT_REACH: &str = "start it, or correct `http`";
const HINT_BUSY: &str = "wait until it has time, then run again; a lower `concurrency` asks less of it at once";
const HINT_SILENT: &str = "look at what keeps it from answering, or give it a longer `timeout`";

pub(crate) struct Server {
    url: String,
    poster: Poster,
    batch: usize,
    timeout: Duration,
    requests: Semaphore,
    at_once: usize,
    /// Single records in a row to which nothing came back.
    silent: AtomicU32,
    /// Answers so far, whatever they say.
    heard: AtomicU64,
}

/// Why records have no answer.
enum Silence {
    /// It cannot be reached, or has no time.
    Gone(Gone),
    /// Nothing came back.
    Silent(String),
    /// It answers, but not this.
    Refused(String),
}

/// The fault of no record.
struct Gone {
    reason: String,
    hint: &'static str,
}

/// The answer to one record: an array of one.
type Answered = Result<Vec<u8>, Silence>;

impl Server {
    pub(super) fn new(url: &str, batch: u64, concurrency: u64, timeout_millis: u64) -> Result<Self, Failure> {
        let at_once = usize::try_from(concurrency).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let poster = Poster::new(url, CONNECT, at_once).map_err(|error| Failure {
            error: format!("nothing can be posted to `{url}`: {error}"),
            hint: Some("`http` is a URL such as `http://127.0.0.1:8080/prices`".to_owned()),
        })?;
        Ok(Self {
            url: url.to_owned(),
            poster,
            batch: usize::try_from(batch).unwrap_or(usize::MAX).max(1),
            timeout: Duration::from_millis(timeout_millis),
            requests: Semaphore::new(at_once),
            at_once,
            silent: AtomicU32::new(0),
            heard: AtomicU64::new(0),
        })
    }

    /// Called on a thread that may block, which waits for the runtime here.
    pub(super) fn take(&self, window: &mut Window, identity: &Identity, clock: &dyn Clock) -> Result<(), TaskError> {
        let open = window.open();
        let asked: Vec<&[usize]> = open.chunks(self.batch).collect();
        let heard = self.heard.load(Ordering::Relaxed);
        let seen: &Window = window;
        let asking = async {
            let requests =
                asked.into_iter().map(|items| async move { (items, self.ask(seen, items, identity, clock).await) });
            stream::iter(requests).buffer_unordered(self.at_once).collect::<Vec<_>>().await
        };
        let runtime = tokio::runtime::Handle::current();
        let mut silent = Vec::new();
        for (items, answers) in runtime.block_on(asking) {
            for (item, answer) in items.iter().zip(answers.map_err(|gone| self.gone(gone))?) {
                match answer {
                    Ok(body) => settle(window, *item, &body),
                    Err(Silence::Refused(reason)) => window.fail(*item, reason),
                    Err(Silence::Gone(gone)) => return Err(self.gone(gone)),
                    Err(Silence::Silent(_)) => silent.push(*item),
                }
            }
        }
        // What was no record's fault may be over.
        for item in silent {
            match runtime.block_on(self.request_one(window, item, identity, clock, TRIES_OF_ONE)) {
                Ok(body) => settle(window, item, &body),
                Err(Silence::Refused(reason)) => window.fail(item, reason),
                Err(Silence::Silent(reason)) if self.heard.load(Ordering::Relaxed) > heard => window.fail(item, reason),
                Err(Silence::Silent(reason)) => return Err(self.gone(Gone { reason, hint: HINT_SILENT })),
                Err(Silence::Gone(gone)) => return Err(self.gone(gone)),
            }
        }
        Ok(())
    }

    fn gone(&self, Gone { reason, hint }: Gone) -> TaskError {
        not_now(format!("`{}`: {reason}", self.url), hint)
    }

    /// The answers to some records, or why none of them is to blame.
    async fn ask(
        &self,
        window: &Window,
        items: &[usize],
        identity: &Identity,
        clock: &dyn Clock,
    ) -> Result<Vec<Answered>, Gone> {
        let mut tries = TRIES;
        if items.len() > 1 {
            match self.request(window, items, identity, clock, TRIES).await {
                Ok(answers) => return Ok(answers.into_iter().map(Ok).collect()),
                Err(Silence::Gone(gone)) => return Err(gone),
                Err(Silence::Silent(_) | Silence::Refused(_)) => tries = TRIES_OF_ONE,
            }
        }
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            let answer = self.request_one(window, *item, identity, clock, tries).await;
            match answer {
                Err(Silence::Gone(gone)) => return Err(gone),
                Err(Silence::Silent(reason)) if self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT => {
                    let reason = format!("{reason}, {SILENT} records in a row");
                    return Err(Gone { reason, hint: HINT_SILENT });
                }
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }

    async fn request_one(
        &self,
        window: &Window,
        item: usize,
        identity: &Identity,
        clock: &dyn Clock,
        tries: u32,
    ) -> Answered {
        let mut one = self.request(window, &[item], identity, clock, tries).await?;
        one.pop().ok_or_else(|| Silence::Refused("no answer".to_owned()))
    }

    async fn request(
        &self,
        window: &Window,
        items: &[usize],
        identity: &Identity,
        clock: &dyn Clock,
        tries: u32,
    ) -> Result<Vec<Vec<u8>>, Silence> {
        let mut body = vec![b'['];
        let mut indices = Vec::with_capacity(items.len());
        for item in items.iter().map(|item| &window.items[*item]) {
            let Some(record) = item.text(&window.text) else { continue };
            if !indices.is_empty() {
                body.push(b',');
            }
            question(identity, item.index, record, &mut body);
            indices.push(item.index);
        }
        body.push(b']');
        let body = Bytes::from(body);
        let key = match indices[..] {
            [only] => identity.key(only),
            // Between the same two others may have failed, or been changed in another way: that is another request.
            [first, .., last] => format!("{}{:016x}/{first}-{last}", identity.prefix, Crc64::of(&body)),
            [] => return Err(Silence::Refused("nothing was asked".to_owned())),
        };
        let mut pause = PAUSE;
        for tried in 1.. {
            let posted = {
                let _permit = self.requests.acquire().await;
                self.poster.post(&key, body.clone(), self.timeout).await
            };
            let left_alone = posted.as_ref().ok().and_then(|posted| posted.retry_after);
            let silence = match posted {
                Ok(posted) => match answer(&posted, identity, &indices) {
                    Ok(()) => {
                        self.hear();
                        return Ok(apart(&posted.body));
                    }
                    Err(silence) => {
                        if matches!(silence, Silence::Refused(_)) {
                            self.hear();
                        }
                        // What is refused will be refused again.
                        if posted.status < 500 && matches!(silence, Silence::Refused(_)) {
                            return Err(silence);
                        }
                        silence
                    }
                },
                Err(error @ PostError::Connect(_)) => {
                    Silence::Gone(Gone { reason: error.to_string(), hint: HINT_REACH })
                }
                Err(PostError::Unanswered(reason)) => Silence::Silent(reason),
            };
            let (tries, wait) = match silence {
                Silence::Gone(_) => (TRIES_OF_GONE, patience(pause, left_alone)),
                Silence::Silent(_) | Silence::Refused(_) => (tries, pause),
            };
            if tried >= tries {
                return Err(silence);
            }
            clock.sleep(wait).await;
            pause = LONGEST.min(2 * pause);
        }
        unreachable!("the last try returns")
    }

    /// The server has answered.
    fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        self.silent.store(0, Ordering::Relaxed);
    }
}

/// How long a server is left alone that has no time.
fn patience(pause: Duration, asked_for: Option<Duration>) -> Duration {
    pause.max(asked_for.unwrap_or_default().min(LEFT_ALONE))
}

/// Checks what came back. Errors: it is no answer to these records.
fn answer(posted: &Posted, identity: &Identity, indices: &[u64]) -> Result<(), Silence> {
    let Posted { status, body, .. } = posted;
    if (200..300).contains(status) {
        let answers = parsed(body, indices.len()).map_err(Silence::Refused)?;
        return match answers.iter().zip(indices).all(|(answer, index)| answer.is_of(identity, *index)) {
            true => Ok(()),
            false => Err(Silence::Refused("the server answered to other records, by `index` or `key`".to_owned())),
        };
    }
    let said = String::from_utf8_lossy(&body[..body.len().min(SAID)]).trim().to_owned();
    let reason = format!("the server answered {status}: {said}");
    Err(match status {
        408 | 425 | 429 | 502 | 503 | 504 => Silence::Gone(Gone { reason, hint: HINT_BUSY }),
        _ => Silence::Refused(reason),
    })
}

/// Takes the answer to one record.
fn settle(window: &mut Window, item: usize, body: &[u8]) {
    match parsed(body, 1) {
        Ok(answers) => answers.iter().for_each(|answer| window.answer(item, answer)),
        Err(reason) => window.fail(item, reason),
    }
}

/// So many answers as there were records.
fn parsed(body: &[u8], wanted: usize) -> Result<Vec<Answer<'_>>, String> {
    let answers: Vec<Answer<'_>> =
        serde_json::from_slice(body).map_err(|error| format!("the server answered no answers: {error}"))?;
    match answers.len() == wanted {
        true => Ok(answers),
        false => Err(format!("the server answered {} times to {wanted} records", answers.len())),
    }
}

/// Each answer of an array as an array of its own.
fn apart(body: &[u8]) -> Vec<Vec<u8>> {
    let answers: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body).unwrap_or_default();
    answers.iter().map(|answer| format!("[{}]", answer.get()).into_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_for_but_not_for_hours() {
        let seconds = Duration::from_secs;
        assert_eq!(patience(PAUSE, None), PAUSE);
        assert_eq!(patience(PAUSE, Some(seconds(7))), seconds(7));
        assert_eq!(patience(LONGEST, Some(seconds(1))), LONGEST);
        assert_eq!(patience(PAUSE, Some(seconds(3600))), LEFT_ALONE);
    }

    #[test]
    fn what_the_server_says_of_its_time_is_no_records_fault() {
        let identity = Identity { prefix: "flow/etag/".to_owned() };
        let of = |status, body: &'static str| {
            let posted = Posted { status, body: Bytes::from_static(body.as_bytes()), retry_after: None };
            match answer(&posted, &identity, &[4, 5]) {
                Ok(()) => "answered",
                Err(Silence::Gone(_)) => "gone",
                Err(Silence::Silent(_)) => "silent",
                Err(Silence::Refused(_)) => "refused",
            }
        };
        for status in [408, 425, 429, 502, 503, 504] {
            assert_eq!(of(status, ""), "gone", "{status}");
        }
        for status in [301, 400, 404, 413, 422, 500, 501, 505] {
            assert_eq!(of(status, ""), "refused", "{status}");
        }
        assert_eq!(of(200, r#"[{"success":true,"index":4},{"success":false,"key":"flow/etag/5"}]"#), "answered");
        assert_eq!(of(200, r#"[{"success":true,"index":5},{"success":true,"index":4}]"#), "refused");
        assert_eq!(of(200, r#"[{"success":true}]"#), "refused");
    }
}
