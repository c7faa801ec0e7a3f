//! Joins files into a file, on one blocking thread: directories on both sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baler_model::ledger::SeparatorRule;
use baler_store::{Appender, StoreError};

use super::super::sniff::{self, GroupCodec};
use super::{Job, Joined};
use crate::error::TaskError;

/// How far into an input its first line may reach.
const LONGEST_HEADER: usize = 1 << 20;

/// Inputs after which is asked whether the user stopped the run: asking takes a lock.
const CANCEL_EVERY: usize = 16;

pub(super) async fn join(job: Job<'_>, appender: Box<dyn Appender>) -> Result<Joined, TaskError> {
    let inputs = job.task.inputs.clone();
    let options = job.options.clone();
    let progress = Arc::clone(&job.flow.env.progress);
    let cancelled = Arc::new(AtomicBool::new(false));
    let _guard = CancelOnDrop(Arc::clone(&cancelled));
    let store = job.flow.source.info().name.clone();
    let cancel = job.flow.env.cancel.clone();
    let work = move || -> Result<Joined, TaskError> {
        let mut appender = appender;
        let (mut taken, mut inserted, mut removed, mut through) = (0, 0, 0, 0);
        let mut codec = GroupCodec::default();
        let mut header: Option<Vec<u8>> = None;
        let last = inputs.len() - 1;
        let (mut objects, mut bytes) = (0, 0);
        for (i, input) in inputs.iter().enumerate() {
            if cancelled.load(Ordering::Relaxed) || (i % CANCEL_EVERY == 0 && cancel.is_cancelled()) {
                return Err(StoreError::Cancelled { store }.into());
            }
            let mut skip = 0;
            if options.header_first {
                let peeked = appender.peek(&input.key, &input.version(), LONGEST_HEADER)?;
                match &header {
                    None => header = Some(super::parts::header_of(&input.key, &peeked, input.size)?),
                    Some(header) => {
                        skip = super::parts::header_length(&input.key, header, &peeked, input.size)?;
                    }
                }
            }
            let appended = appender.append_object(input, skip)?;
            let head = &appended.head[..usize::from(appended.head_len)];
            let kindred = match skip {
                0 => sniff::by_bytes(head),
                _ => sniff::Kindred::Joins(sniff::Codec::Plain),
            };
            codec.admit(&input.key, kindred).map_err(|fault| TaskError::data(fault, Some(MIXED_HINT)))?;
            taken += 1;
            removed += skip;
            through += appended.bytes;
            let wants = match options.separator {
                SeparatorRule::Newline => appended.last.is_some_and(|byte| byte != b'\n'),
                SeparatorRule::None => false,
            };
            if wants && i < last {
                appender.append_bytes(b"\n")?;
                inserted += 1;
            }
            objects += 1;
            bytes += input.size;
            if bytes > 16 << 20 {
                progress.advance(objects, bytes);
                (objects, bytes) = (0, 0);
            }
        }
        progress.advance(objects, bytes);
        let staged = appender.finish()?;
        Ok(Joined { staged, objects: taken, bytes: through + removed, inserted, removed, copied: 0, through })
    };
    tokio::task::spawn_blocking(work).await.map_err(|panic| TaskError {
        kind: baler_model::Kind::Internal,
        failure: baler_model::ledger::Failure { error: format!("joining panicked: {panic}"), hint: None },
    })?
}

/// What to do about a group that does not concatenate.
pub(super) const MIXED_HINT: &str = "narrow `from` to objects of one codec and of a format that concatenates (text, JSON lines, CSV; gzip, bzip2, zstd, \
     lz4, framed snappy)";

/// Stops the blocking thread soon after nobody waits for it any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
