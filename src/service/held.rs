//! The memory that messages hold until they are answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::memory::Reservation;

/// A stream is not read further while its messages hold more than this part of the budget.
const STREAM_PART: usize = 4;

/// The memory of one call's messages: the layer that reads them puts it in, and the service that
/// answers a stream takes it out, message by message.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Of the message that the service has got last.
    last: Option<Reservation>,
    /// What its reader holds besides, as long as the call lasts.
    beside: usize,
    /// Bytes taken out.
    taken: usize,
    reader: Option<Waker>,
    most: usize,
}

/// What one message of a stream holds.
#[derive(Debug)]
pub(super) struct HeldMessage {
    held: Held,
    reservation: Reservation,
}

impl Held {
    /// For a call, given the server's budget of `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            most: limit / STREAM_PART,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Holds a message's memory, beside what its reader holds.
    pub(super) fn hold(&self, reservation: Reservation, beside: usize) {
        let mut state = self.state();
        (state.last, state.beside) = (Some(reservation), beside);
    }

    /// Bytes that are held because of the last message.
    pub(super) fn bytes(&self) -> usize {
        let state = self.state();
        state.last.as_ref().map_or(0, Reservation::bytes) + state.beside
    }

    /// Releases the last message's memory, unless it was taken out.
    pub(super) fn release(&self) {
        self.state().last = None;
    }

    /// Takes out what the last message holds.
    pub(super) fn take(&self) -> Option<HeldMessage> {
        let mut state = self.state();
        let reservation = state.last.take()?;
        state.taken += reservation.bytes();
        Some(HeldMessage {
            held: self.clone(),
            reservation,
        })
    }

    /// Ready when the stream may hold another message.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.taken <= state.most {
            return Poll::Ready(());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ready when no message is being answered; else wakes its reader at the next answer.
    pub(super) fn poll_answer(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.taken == 0 {
            return Poll::Ready(());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldMessage {
    fn drop(&mut self) {
        let bytes = self.reservation.bytes();
        // The reader that is woken may take this memory at once.
        self.reservation.shrink_to(0);
        let mut state = self.held.state();
        state.taken = state.taken.saturating_sub(bytes);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
