//! Ctrl-C and SIGTERM: the first stops cleanly, the second at once.

use std::sync::Arc;

use baler_engine::Progress;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// Cancels the token at the first signal and ends the process at the second.
///
/// Ending at once is safe at any instant: the ledger knows what was done.
pub(crate) fn listen(cancel: CancellationToken, progress: Arc<dyn Progress>) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                baler_engine::end_programs();
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            cancel.cancel();
            progress.note("stopping cleanly; once more to stop at once (which is safe, too)");
        }
    });
    Ok(())
}
