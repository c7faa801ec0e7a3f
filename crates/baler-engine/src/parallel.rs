//! Spreads short work over the processors, where there is enough of it: what planning does for each of a million objects.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Items of one piece of work that is spread: enough that starting a thread does not count.
pub(crate) const PIECE: usize = 8192;

/// Applies `work` to every item on as many threads as there are processors; results come in the order of the items.
pub(crate) fn in_parallel<I: Sync, O: Send>(items: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match try_in_parallel(threads, items, |item| Ok::<O, Infallible>(work(item))) {
        Ok(done) => done,
        Err(never) => match never {},
    }
}

/// Applies `work` to the items in their order on so many threads, the calling one included; results come in the same order.
///
/// Errors: the first in the order of the items among those that were met; no further item is begun behind one.
pub(crate) fn try_in_parallel<I: Sync, O: Send, E: Send>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> Result<O, E> + Sync,
) -> Result<Vec<O>, E> {
    if threads <= 1 || items.len() <= 1 {
        return items.iter().map(work).collect();
    }
    let (next, has_failed, work) = (&AtomicUsize::new(0), &AtomicBool::new(false), &work);
    let take = || -> Vec<(usize, Result<O, E>)> {
        std::iter::from_fn(|| {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let item = items.get(at).filter(|_| !has_failed.load(Ordering::Relaxed))?;
            let done = work(item);
            if done.is_err() {
                has_failed.store(true, Ordering::Relaxed);
            }
            Some((at, done))
        })
        .collect()
    };
    let mut done: Vec<(usize, Result<O, E>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(take)).collect();
        let mut done = take();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..10_000).collect();
        let slow_first = |item: &u64| {
            if item.is_multiple_of(1000) {
                std::thread::yield_now();
            }
            item * 2
        };
        assert_eq!(in_parallel(&items, slow_first), (0..10_000).map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(in_parallel(&[] as &[u64], slow_first), Vec::<u64>::new());
    }

    #[test]
    fn an_error_ends_the_work_and_is_the_first_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..100_000).collect();
        for threads in [1, 4] {
            let met = AtomicUsize::new(0);
            let work = |item: &u64| {
                met.fetch_add(1, Ordering::Relaxed);
                if *item >= 100 { Err(*item) } else { Ok(()) }
            };
            assert_eq!(try_in_parallel(threads, &items, work), Err(100));
            assert!(met.into_inner() < items.len(), "nothing is begun behind an error");
        }
    }

    #[test]
    fn a_panic_of_the_work_is_passed_on() {
        let items: Vec<u64> = (0..100).collect();
        let work = |item: &u64| assert!(*item != 77, "seventy-seven");
        assert!(std::panic::catch_unwind(|| in_parallel(&items, work)).is_err());
    }
}
