//! Some of many things at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Error;

/// Do `work` for each item, `jobs` at a time, in their order; the first failure stops the others. What came of each
/// comes back in the same order.
pub(super) fn each<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(i) else { break };
            match work(item) {
                Ok(result) => {
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((i, result));
                }
                Err(e) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(e);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.min(items.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    if let Some(e) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(e);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_a_failure_stops_the_rest() {
        let items: Vec<u64> = (0..50).collect();
        for jobs in [0, 1, 4, 99] {
            let twice = each(jobs, &items, |n| {
                std::thread::sleep(std::time::Duration::from_micros(50 - n));
                Ok(n * 2)
            });
            let want: Vec<u64> = items.iter().map(|n| n * 2).collect();
            assert_eq!(twice.unwrap(), want, "{jobs}");
        }
        let begun = AtomicUsize::new(0);
        let failed = each(2, &items, |n| {
            begun.fetch_add(1, Ordering::SeqCst);
            match n {
                3 => Err(Error::NoCommand),
                _ => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    Ok(())
                }
            }
        });
        assert!(matches!(failed, Err(Error::NoCommand)));
        assert!(begun.load(Ordering::SeqCst) < 20);
        assert!(each(4, &[(); 0], |()| Ok(())).unwrap().is_empty());
    }
}
