//! Worker threads: short parallel regions, started and ended in about a microsecond.
//!
//! A region is a number of tasks, which the caller and the workers claim one by one. The caller waits
//! for claimed tasks, never for a worker: one that the operating system does not run claims nothing
//! and delays nobody. What can delay is a worker that loses its core *within* a task. Therefore the caller
//! gives up its own core after a short wait (so that the worker can move there), and a worker that
//! made it wait long is left out for a while: see [`rest`].

mod rest;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use rest::Rest;

/// How long a worker looks for the next region before it sleeps. Longer than what lies between two
/// regions of a step, and between two steps of one sequence: waking it takes about as long, and that region is computed without it.
const WORKER_SPIN: Duration = Duration::from_micros(200);

/// How long the caller looks for the end of the last tasks before it sleeps.
const CALLER_SPIN: Duration = Duration::from_micros(40);

/// Looks between two looks at the clock.
const LOOKS: u32 = 32;

/// Most tasks of a parallel region; a larger one is run by the caller alone.
const MOST_TASKS: usize = u32::MAX as usize;

type Task<'a> = &'a (dyn Fn(usize) + Sync);

thread_local! {
    /// Whether this thread is inside a task: a region within it is run by this thread alone.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Worker threads, which run until the pool is dropped.
pub struct Pool {
    shared: Arc<Shared>,
    /// One region at a time.
    region: Mutex<Region>,
    handles: Vec<JoinHandle<()>>,
}

/// What only the thread that runs a region uses.
struct Region {
    generation: u32,
    rest: Rest,
}

struct Shared {
    /// The region's generation (high half) and its number of unclaimed tasks (low half). Both in one
    /// word, so that a task of a past region cannot be claimed.
    ticket: AtomicU64,
    /// Which tasks each thread of the region takes first: the caller, then the workers.
    shares: Vec<Share>,
    /// A `Task` on the caller's stack. Valid for whoever has claimed a task, until it counts as done.
    task: AtomicPtr<Task<'static>>,
    /// Tasks that are not done.
    left: AtomicUsize,
    /// Whether a task of the region has panicked: the others are skipped.
    failed: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// The caller, while it sleeps.
    caller: Mutex<Option<Thread>>,
    stop: AtomicBool,
    workers: Vec<Worker>,
}

/// Consecutive tasks, the first (low half) up to the last, which is not included (high half). Whose share it is takes
/// the first of them, so that it goes through memory in order; others take the last once their own are done.
#[derive(Default)]
#[repr(align(128))]
struct Share(AtomicU64);

impl Share {
    fn set(&self, first: usize, end: usize) {
        self.0.store((end as u64) << 32 | first as u64, Ordering::Relaxed);
    }

    /// Takes one task, if there is one.
    fn take(&self, own: bool) -> Option<usize> {
        let mut share = self.0.load(Ordering::Relaxed);
        loop {
            let (first, end) = (share & 0xFFFF_FFFF, share >> 32);
            if first >= end {
                return None;
            }
            let (task, rest) = match own {
                true => (first, end << 32 | (first + 1)),
                false => (end - 1, (end - 1) << 32 | first),
            };
            let taken =
                self.0.compare_exchange_weak(share, rest, Ordering::Relaxed, Ordering::Relaxed);
            match taken {
                Ok(_) => return Some(task as usize),
                Err(current) => share = current,
            }
        }
    }
}

/// A worker's flags, each in a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Worker {
    /// Set before it sleeps: wake it by `unpark`.
    asleep: AtomicBool,
    /// It holds a task.
    busy: AtomicBool,
    /// It takes no tasks for now.
    resting: AtomicBool,
}

impl Pool {
    /// A pool of `threads`, the caller of [`Self::run`] being one of them. 0 is taken as 1. Where the
    /// system refuses threads, the pool has fewer.
    pub fn new(threads: usize) -> Self {
        let count = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            shares: (0..=count).map(|_| Share::default()).collect(),
            task: AtomicPtr::new(std::ptr::null_mut()),
            left: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            panic: Mutex::new(None),
            caller: Mutex::new(None),
            stop: AtomicBool::new(false),
            workers: (0..count).map(|_| Worker::default()).collect(),
        });
        let start = |index| {
            let shared = Arc::clone(&shared);
            let name = format!("kernels {}", index + 1);
            thread::Builder::new().name(name).spawn(move || shared.work(index)).ok()
        };
        let handles: Vec<_> = (0..count).map_while(start).collect();
        let region = Mutex::new(Region { generation: 0, rest: Rest::new(handles.len()) });
        Self { shared, region, handles }
    }

    /// Threads that work on a region.
    pub fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Runs `task(0)` … `task(tasks − 1)`, each once, on any thread in any order, and returns when all
    /// are done. Calls from several threads take turns; a call from within a task is run by that
    /// thread alone.
    ///
    /// # Panics
    /// With a task's panic, after all others are done or skipped.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.handles.is_empty() || tasks > MOST_TASKS || INSIDE.get() {
            (0..tasks).for_each(task);
            return;
        }
        let mut region = lock(&self.region);
        let now = Instant::now();
        let awake = region.rest.update(now, &self.shared.workers);
        if awake == 0 {
            let _inside = Inside::enter();
            (0..tasks).for_each(task);
            return;
        }
        self.publish(&mut region, tasks, &task);
        self.wake(tasks - 1);
        {
            let _inside = Inside::enter();
            self.shared.claim(region.generation, 0);
        }
        self.wait(&mut region, now);
        // Nobody can claim any more, and all claimed tasks are done: `task` is not used from here on.
        self.shared.task.store(std::ptr::null_mut(), Ordering::Relaxed);
        let panic = lock(&self.shared.panic).take();
        drop(region);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn publish(&self, region: &mut Region, tasks: usize, task: &Task<'_>) {
        let shared = &self.shared;
        region.generation = region.generation.wrapping_add(1);
        shared.failed.store(false, Ordering::Relaxed);
        shared.left.store(tasks, Ordering::Relaxed);
        // No allocation here: a decode step publishes some hundred regions.
        let workers =
            || shared.workers.iter().map(|worker| !worker.resting.load(Ordering::Relaxed));
        let threads = 1 + workers().filter(|able| *able).count();
        let mut place = 0;
        for (share, able) in shared.shares.iter().zip(std::iter::once(true).chain(workers())) {
            let next = place + usize::from(able);
            share.set(tasks * place / threads, tasks * next / threads);
            place = next;
        }
        let task = std::ptr::from_ref(task).cast_mut().cast::<Task<'static>>();
        shared.task.store(task, Ordering::Relaxed);
        let ticket = u64::from(region.generation) << 32 | tasks as u64;
        // Sequentially consistent, as the workers' `asleep`: either they see the ticket or they are woken.
        shared.ticket.store(ticket, Ordering::SeqCst);
    }

    /// Wakes up to `most` workers that sleep.
    fn wake(&self, most: usize) {
        let workers = self.shared.workers.iter().zip(&self.handles);
        let able = workers.filter(|(worker, _)| !worker.resting.load(Ordering::Relaxed));
        for (worker, handle) in able.take(most) {
            if worker.asleep.load(Ordering::SeqCst) {
                handle.thread().unpark();
            }
        }
    }

    /// Returns when all tasks are done.
    fn wait(&self, region: &mut Region, start: Instant) {
        let shared = &self.shared;
        let done = || shared.left.load(Ordering::Acquire) == 0;
        if done() {
            region.rest.went_well(start);
            return;
        }
        let idle = Instant::now();
        while idle.elapsed() < CALLER_SPIN {
            for _ in 0..LOOKS {
                if done() {
                    region.rest.went_well(start);
                    return;
                }
                std::hint::spin_loop();
            }
        }
        region.rest.suspect(&shared.workers);
        *lock(&shared.caller) = Some(thread::current());
        while !done() {
            thread::park();
        }
        *lock(&shared.caller) = None;
        let now = Instant::now();
        region.rest.blame(&shared.workers, idle - start, now - idle, now);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for handle in self.handles.drain(..) {
            handle.thread().unpark();
            // A worker's panics are caught, so that there is nothing to report.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self, index: usize) {
        let Some(worker) = self.workers.get(index) else { return };
        INSIDE.set(true);
        let mut seen = 0;
        while let Some(generation) = self.next_region(worker, seen) {
            seen = generation;
            if worker.resting.load(Ordering::Acquire) {
                continue;
            }
            worker.busy.store(true, Ordering::Relaxed);
            self.claim(generation, index + 1);
            worker.busy.store(false, Ordering::Relaxed);
        }
    }

    /// Waits for a generation other than `seen`; none if the pool ends.
    fn next_region(&self, worker: &Worker, seen: u32) -> Option<u32> {
        let generation = || (self.ticket.load(Ordering::SeqCst) >> 32) as u32;
        loop {
            let idle = Instant::now();
            while idle.elapsed() < WORKER_SPIN {
                for _ in 0..LOOKS {
                    if generation() != seen {
                        return Some(generation());
                    }
                    std::hint::spin_loop();
                }
            }
            worker.asleep.store(true, Ordering::SeqCst);
            while generation() == seen && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            worker.asleep.store(false, Ordering::SeqCst);
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
        }
    }

    /// Claims and runs tasks of a generation until none is left. `thread` says whose share comes first.
    fn claim(&self, generation: u32, thread: usize) {
        let mut ticket = self.ticket.load(Ordering::Acquire);
        loop {
            let (now, left) = ((ticket >> 32) as u32, ticket & 0xFFFF_FFFF);
            if now != generation || left == 0 {
                return;
            }
            match self.ticket.compare_exchange_weak(
                ticket,
                ticket - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Err(current) => ticket = current,
                Ok(_) => {
                    // SAFETY: a task of this generation is claimed and not done, hence its `run` has not
                    // returned, and what it published is alive.
                    let task = unsafe { *self.task.load(Ordering::Relaxed) };
                    self.execute(self.take(thread), task);
                    self.finish();
                    ticket = self.ticket.load(Ordering::Acquire);
                }
            }
        }
    }

    /// The task that a claim stands for. There are as many in all shares as there are claims.
    fn take(&self, thread: usize) -> usize {
        loop {
            let own = self.shares.get(thread).and_then(|share| share.take(true));
            let taken = own.or_else(|| self.shares.iter().find_map(|share| share.take(false)));
            if let Some(task) = taken {
                return task;
            }
            std::hint::spin_loop();
        }
    }

    fn execute(&self, index: usize, task: Task<'_>) {
        if self.failed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(index))) {
            self.failed.store(true, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(panic);
        }
    }

    /// Counts a task as done. The last one wakes the caller, if it sleeps.
    fn finish(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(caller) = lock(&self.caller).as_ref()
        {
            caller.unpark();
        }
    }
}

/// Marks this thread as inside a task, until dropped.
struct Inside;

impl Inside {
    fn enter() -> Self {
        INSIDE.set(true);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// A panic of a task is caught before it can poison what it protects.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
