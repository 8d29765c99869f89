//! Asking: a pass over all that is open whose one window asks, and goes on until the grace is over.

use super::Campaign;
use crate::message::PassKind;
use crate::outcome::{Phase, Verdict, Why};
use crate::spec::Mode;
use crate::window::Asked;

/// Pause before what a confirmation found alive is asked, in milliseconds.
const PAUSE_MS: u64 = 1_000;

impl Campaign {
    pub(super) fn begin_asking(&mut self, after_ms: u64) {
        self.phase = Phase::Asking;
        self.begin_pass_after(after_ms, PassKind::Open);
    }

    /// Adds what a window that asked came to: a campaign that asks again counts those anew that are still there.
    pub(super) fn note_asked(&mut self, asked: Asked) {
        let before = self.asked.unwrap_or_default();
        let ended = before.chains.saturating_sub(before.left);
        self.asked = Some(Asked {
            chains: ended.saturating_add(asked.chains),
            charged: self.charged_and_gone().saturating_add(asked.charged),
            until_ms: asked.until_ms.or(before.until_ms),
            ..asked
        });
    }

    /// What asking so far has used of the cap and will not be met again.
    pub(super) fn charged_and_gone(&self) -> u64 {
        self.asked.map_or(0, |asked| asked.charged.saturating_sub(asked.left))
    }

    /// The window that asked is done. What it left alone for the cap, of which something was given back since, is asked now.
    pub(super) fn end_asking(&mut self, cap_reached: bool) {
        let grace = self.asked.is_some_and(|asked| !asked.over);
        match self.spec.mode {
            _ if cap_reached && grace => self.begin_asking(PAUSE_MS),
            Mode::Cancel => self.begin_confirm(),
            Mode::Terminate | Mode::CancelThenTerminate => self.strike_roots(),
        }
    }

    /// Something is alive, or may be, and is not to be terminated.
    pub(super) fn ask_again_or_end(&mut self, alive: u64) {
        if self.asked.is_some_and(|asked| !asked.over) {
            return self.begin_asking(PAUSE_MS);
        }
        let why = if alive > 0 {
            Why::GraceOver { alive }
        } else {
            Why::Unconfirmed { alive }
        };
        self.end(Verdict::Residue, why);
    }
}
