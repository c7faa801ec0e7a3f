//! Progress on stderr: a bar on a terminal, a line now and then elsewhere.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baler_engine::{Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::quantity;

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// What suits stderr.
pub(crate) fn for_this_terminal() -> Arc<dyn Progress> {
    match std::io::stderr().is_terminal() {
        true => Arc::new(Bar::new()),
        false => Arc::new(Lines::default()),
    }
}

/// What goes on in a phase, in words.
fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::List => "listing sources",
        Phase::Combine => "combining",
        Phase::Convert => "converting",
        Phase::Scatter => "scattering",
        Phase::Publish => "publishing",
        Phase::Dispose => "removing sources",
        Phase::Verify => "verifying",
    }
}

fn say(line: &str) {
    // Progress that nobody can read is no reason to fail.
    writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default();
}

/// A bar: objects, bytes, rate, time left.
#[derive(Debug)]
struct Bar {
    current: Mutex<Option<ProgressBar>>,
    objects: Arc<AtomicU64>,
}

impl Bar {
    fn new() -> Self {
        Self { current: Mutex::default(), objects: Arc::default() }
    }
}

impl Progress for Bar {
    fn begin(&self, flow: &str, phase: Phase, objects: u64, bytes: u64) {
        self.objects.store(0, Ordering::Relaxed);
        let done = Arc::clone(&self.objects);
        let of = quantity::count(objects);
        let counted = move |_: &ProgressState, w: &mut dyn fmt::Write| {
            write!(w, "{}/{of}", quantity::count(done.load(Ordering::Relaxed))).unwrap_or_default();
        };
        // Short enough for 80 columns, as a line that wraps cannot be taken back.
        let template = match (objects, bytes) {
            (0, 0) => "{spinner} {msg} {elapsed}",
            (_, 0) => "{spinner} {msg} [{wide_bar}] {counted}",
            (_, _) => {
                "{spinner} {msg} [{wide_bar}] {counted} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
            }
        };
        let style = ProgressStyle::with_template(template).expect("the templates above are well-formed");
        let style = style.with_key("counted", counted).progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(style);
        bar.set_message(format!("{flow}: {}", doing(phase)));
        bar.enable_steady_tick(Duration::from_millis(100));
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, objects: u64, bytes: u64) {
        self.objects.fetch_add(objects, Ordering::Relaxed);
        if let Some(bar) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    fn note(&self, note: &str) {
        match &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(|| say(note)),
            None => say(note),
        }
    }
}

/// Lines, for logs.
#[derive(Debug, Default)]
struct Lines {
    current: Mutex<Option<Counted>>,
}

#[derive(Debug)]
struct Counted {
    title: String,
    objects: (u64, u64),
    bytes: (u64, u64),
    began: Instant,
    said: Instant,
}

impl Counted {
    /// "audit: combining: 3 of 10 objects, 1.0 MiB of 3.0 MiB".
    fn line(&self) -> String {
        let (objects, all) = self.objects;
        let (bytes, all_bytes) = self.bytes;
        format!(
            "{}: {} of {}, {} of {}",
            self.title,
            quantity::count(objects),
            quantity::things(all, "object"),
            quantity::bytes(bytes),
            quantity::bytes(all_bytes)
        )
    }
}

impl Progress for Lines {
    fn begin(&self, flow: &str, phase: Phase, objects: u64, bytes: u64) {
        let title = format!("{flow}: {}", doing(phase));
        match objects {
            0 => say(&title),
            _ => say(&format!("{title}: {}, {}", quantity::things(objects, "object"), quantity::bytes(bytes))),
        }
        let now = Instant::now();
        let counted = Counted { title, objects: (0, objects), bytes: (0, bytes), began: now, said: now };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
    }

    fn advance(&self, objects: u64, bytes: u64) {
        if let Some(counted) = &mut *self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            counted.objects.0 += objects;
            counted.bytes.0 += bytes;
            if counted.said.elapsed() >= EVERY {
                counted.said = Instant::now();
                say(&counted.line());
            }
        }
    }

    fn end(&self) {
        if let Some(counted) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let took = quantity::seconds(counted.began.elapsed().as_secs_f64());
            match counted.objects {
                (0, 0) => say(&format!("{}: took {took}", counted.title)),
                (done, all) if done < all => say(&format!("{}; ended after {took}", counted.line())),
                (_, _) => say(&format!("{}: done in {took}", counted.title)),
            }
        }
    }

    fn note(&self, note: &str) {
        say(note);
    }
}
