//! The memory that requests hold, all of them together: what a client sends is taken from one budget
//! before it is kept, decompressed or decoded, and given back when the request is answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A request that holds no more than this is small; decoding a file of a small image takes most of it.
const SMALL_BYTES: usize = 768 << 10;
/// Large requests leave one part in this many to small ones.
const SMALL_PART: usize = 8;

/// A budget of bytes.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Images held, and how many of them are being decoded.
    images: AtomicUsize,
    decoding: AtomicUsize,
    /// Held while memory is taken for an image and the image is counted: who finds no memory sees who has it.
    entry: Mutex<()>,
    image_released: Notify,
}

/// A part of the budget; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    memory: Memory,
    bytes: usize,
}

/// What an image holds, from before it is decoded until it is answered.
#[derive(Debug)]
pub struct ImageMemory {
    reservation: Reservation,
    decoding: bool,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "requests hold {used} bytes of memory and {asked} more are asked for; the limit is {limit} \
     (--max-request-memory-bytes)"
)]
pub struct Exhausted {
    /// What is in use.
    pub used: usize,
    /// What was asked for.
    pub asked: usize,
    /// What is available: large requests leave an eighth of the budget to small ones.
    pub limit: usize,
}

/// A request needs more than the whole budget has for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "takes up to {more} bytes of memory beside the {held} that the request holds already, and the server has {room} \
     for a request; make it smaller, or start the server with --max-request-memory-bytes {limit} or more"
)]
pub struct TooLarge {
    /// What it holds.
    pub held: usize,
    /// What it needs besides.
    pub more: usize,
    /// What it may hold.
    pub room: usize,
    /// The smallest budget that suffices.
    pub limit: usize,
}

impl Memory {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Budget {
            limit,
            used: AtomicUsize::new(0),
            images: AtomicUsize::new(0),
            decoding: AtomicUsize::new(0),
            entry: Mutex::new(()),
            image_released: Notify::new(),
        }))
    }

    /// Its size.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// What a large request may hold at most.
    pub fn largest(&self) -> usize {
        self.0.limit - self.0.limit / SMALL_PART
    }

    /// Whether a request that holds `held` bytes may take `more`, when there is no other.
    ///
    /// # Errors
    /// When it may not, so that trying again does not help.
    pub fn check_fits(&self, held: usize, more: usize) -> Result<(), TooLarge> {
        let (needed, room) = (held.saturating_add(more), self.room_for(more));
        if needed <= room {
            return Ok(());
        }
        let small_part = if more > SMALL_BYTES {
            needed / (SMALL_PART - 1)
        } else {
            0
        };
        Err(TooLarge {
            held,
            more,
            room,
            limit: needed.saturating_add(small_part),
        })
    }

    /// What may be in use when a reservation has grown to `bytes`.
    fn room_for(&self, bytes: usize) -> usize {
        if bytes > SMALL_BYTES {
            self.largest()
        } else {
            self.0.limit
        }
    }

    /// An empty part.
    pub fn reservation(&self) -> Reservation {
        Reservation {
            memory: self.clone(),
            bytes: 0,
        }
    }

    /// Takes `bytes` at once or fails: a caller that waited while it holds a part could deadlock.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn take(&self, bytes: usize) -> Result<Reservation, Exhausted> {
        let mut reservation = self.reservation();
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Takes `bytes` for decoding an image. When the budget is used up, waits while other images are
    /// being decoded, or, if `patient`, while others are held: those need no more memory to finish.
    ///
    /// # Errors
    /// When the budget is used up, and no image will free some.
    pub async fn take_for_image(
        &self,
        bytes: usize,
        patient: bool,
    ) -> Result<ImageMemory, Exhausted> {
        let budget = &self.0;
        let awaited = if patient {
            &budget.images
        } else {
            &budget.decoding
        };
        loop {
            let released = budget.image_released.notified();
            // Counted before memory is taken: an image is counted until it has given all back.
            let (count, taken) = {
                // It guards nothing that a panic could leave half done.
                let _entry = budget.entry.lock().unwrap_or_else(PoisonError::into_inner);
                let count = awaited.load(Ordering::Acquire);
                (count, self.take(bytes).map(ImageMemory::new))
            };
            match taken {
                Err(_) if count > 0 => released.await,
                ended => return ended,
            }
        }
    }
}

impl ImageMemory {
    fn new(reservation: Reservation) -> Self {
        let budget = &reservation.memory.0;
        budget.images.fetch_add(1, Ordering::AcqRel);
        budget.decoding.fetch_add(1, Ordering::AcqRel);
        Self {
            reservation,
            decoding: true,
        }
    }

    /// Decoded, it holds `bytes`.
    pub fn decoded(&mut self, bytes: usize) {
        self.reservation.shrink_to(bytes);
        if std::mem::take(&mut self.decoding) {
            let budget = &self.reservation.memory.0;
            budget.decoding.fetch_sub(1, Ordering::AcqRel);
            budget.image_released.notify_waiters();
        }
    }
}

impl Drop for ImageMemory {
    fn drop(&mut self) {
        self.decoded(0);
        let budget = &self.reservation.memory.0;
        budget.images.fetch_sub(1, Ordering::AcqRel);
        budget.image_released.notify_waiters();
    }
}

impl Reservation {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let budget = &self.memory.0;
        let limit = self.memory.room_for(self.bytes.saturating_add(bytes));
        let grown = |used: usize| used.checked_add(bytes).filter(|used| *used <= limit);
        budget
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, grown)
            .map_err(|used| Exhausted {
                used,
                asked: bytes,
                limit,
            })?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back what is above `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let above = self.bytes.saturating_sub(bytes);
        self.memory.0.used.fetch_sub(above, Ordering::AcqRel);
        self.bytes -= above;
    }

    /// Moves up to `bytes` to another part of the same budget.
    pub fn give(&mut self, bytes: usize, other: &mut Self) {
        let given = bytes.min(self.bytes);
        self.bytes -= given;
        other.bytes += given;
    }

    /// How large it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_and_small_requests_have_room_of_their_own() {
        let memory = Memory::new(8 << 20);
        let mut large = memory.take(7 << 20).unwrap();
        let refused = large.grow(1).unwrap_err();
        assert_eq!((refused.used, refused.limit), (7 << 20, 7 << 20));
        assert!(memory.take(SMALL_BYTES + 1).is_err());
        let small = [SMALL_BYTES, (1 << 20) - SMALL_BYTES].map(|bytes| memory.take(bytes).unwrap());
        assert!(memory.take(1).is_err());
        drop(small);
        let mut other = memory.reservation();
        large.give(1 << 20, &mut other);
        drop(large);
        assert_eq!(memory.take(6 << 20).unwrap().bytes(), 6 << 20);
        assert!(memory.take(7 << 20).is_err());
        other.shrink_to(0);
        assert!(memory.take(7 << 20).is_ok());
    }

    #[test]
    fn what_can_never_fit_is_told_what_would_suffice() {
        let memory = Memory::new(8 << 20);
        let (held, room) = (2 << 20, 7 << 20);
        let _message = memory.take(held).unwrap();
        for more in [SMALL_BYTES, room - held] {
            memory.check_fits(held, more).unwrap();
            memory.take(more).unwrap();
        }
        for more in [room - held + 1, room, usize::MAX] {
            let too_large = memory.check_fits(held, more).unwrap_err();
            assert!(memory.take(more).is_err());
            let enough = Memory::new(too_large.limit);
            let less = Memory::new(too_large.limit - 1);
            if more < usize::MAX {
                enough.check_fits(held, more).unwrap();
            }
            less.check_fits(held, more).unwrap_err();
        }
        memory.check_fits(room + 1, SMALL_BYTES).unwrap();
        let too_large = memory.check_fits(8 << 20, 1).unwrap_err();
        assert_eq!(too_large.limit, (8 << 20) + 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn an_image_that_waits_for_others_is_never_refused() {
        let memory = Memory::new(8 << 20);
        let images = (0..4).map(|_| {
            let memory = memory.clone();
            tokio::spawn(async move {
                for _ in 0..20_000 {
                    drop(memory.take_for_image(7 << 20, true).await.unwrap());
                }
            })
        });
        for image in images.collect::<Vec<_>>() {
            image.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_image_waits_for_others_that_come_to_their_end_and_for_nothing_else() {
        let memory = Memory::new(8 << 20);
        let mut first = memory.take_for_image(6 << 20, false).await.unwrap();
        let another = |patient| {
            let memory = memory.clone();
            async move { memory.take_for_image(4 << 20, patient).await.is_ok() }
        };
        let (hurried, patient) = (tokio::spawn(another(false)), tokio::spawn(another(true)));
        tokio::task::yield_now().await;
        assert!(!hurried.is_finished() && !patient.is_finished());
        first.decoded(5 << 20);
        assert!(!hurried.await.unwrap());
        tokio::task::yield_now().await;
        assert!(!patient.is_finished());
        drop(first);
        assert!(patient.await.unwrap());
        let _message = memory.take(6 << 20).unwrap();
        assert!(!another(true).await);
    }
}
