//! Time: the clock, timers, jobs and random numbers.

use super::host::{STATE, TestHost, TestServices, TestState, enter_with, transaction};
use crate::request::{ServiceRequest, ServiceResponse, ServiceResult};
use crate::{Context, Error, Registered, ServiceError};

impl<P: Registered> TestHost<P> {
    /// Sets the clock, in milliseconds since 1970.
    pub fn set_clock(&self, now_ms: u64) {
        STATE.with_borrow_mut(|state| state.now_ms = now_ms);
    }

    /// Fires the timers of the current app that are due at the time of the clock, the earliest first. A timer whose hook fails
    /// stays.
    ///
    /// # Errors
    /// The first failure.
    pub fn fire_timers(&self) -> Result<(), Error> {
        loop {
            let due = STATE.with_borrow(|state| {
                let mine = state
                    .timers
                    .iter()
                    .filter(|((app, _), (at, _))| *app == state.app && *at <= state.now_ms);
                mine.min_by_key(|(_, (at, _))| *at)
                    .map(|(key, value)| (key.clone(), value.clone()))
            });
            let Some((key, (_, payload))) = due else { return Ok(()) };
            transaction(|| {
                STATE.with_borrow_mut(|state| state.timers.remove(&key));
                self.hooks().timer(&Context::default(), &key.1, &payload)
            })?;
        }
    }

    /// Runs the jobs of the current app that are due at the time of the clock, in the order in which they were added. A job
    /// that fails stays with the same id, and its next attempt has the next number.
    ///
    /// # Errors
    /// The first failure.
    pub fn run_jobs(&self) -> Result<(), Error> {
        loop {
            let due = STATE.with_borrow_mut(|state| {
                let (app, now_ms) = (&state.app, state.now_ms);
                let mut jobs = state.jobs.iter_mut();
                let waiting = jobs.find(|waiting| waiting.job.app == *app && waiting.at_ms <= now_ms)?;
                waiting.job.attempt += 1;
                Some(waiting.job.clone())
            });
            let Some(job) = due else {
                return Ok(());
            };
            let plugin = self.plugin.clone();
            let transact =
                move |name: &str, payload: &[u8]| transaction(|| plugin.transact(&Context::default(), name, payload));
            let services = TestServices {
                transact: Some(Box::new(transact)),
            };
            enter_with(services, || self.hooks().action(&Context::default(), &job))?;
            STATE.with_borrow_mut(|state| state.jobs.retain(|waiting| waiting.job.id != job.id));
        }
    }
}

impl TestState {
    /// Runs a service of this file.
    pub(super) fn answer_clock(&mut self, request: ServiceRequest) -> ServiceResult {
        match request {
            ServiceRequest::SetTimer(name, at_ms, payload) => {
                self.timers.insert((self.app.clone(), name), (at_ms, payload));
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::CancelTimer(name) => {
                let found = self.timers.remove(&(self.app.clone(), name));
                Ok(ServiceResponse::Flags(vec![found.is_some()]))
            }
            ServiceRequest::NowMs => Ok(ServiceResponse::NowMs(self.now_ms)),
            ServiceRequest::Random(count) => {
                Ok(ServiceResponse::Bytes((0..count).map(|_| self.next_random()).collect()))
            }
            _ => Err(ServiceError::Unavailable),
        }
    }

    /// Returns the same bytes in every run (SplitMix64).
    fn next_random(&mut self) -> u8 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).to_le_bytes()[0]
    }
}
