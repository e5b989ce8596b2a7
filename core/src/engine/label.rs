//! What a holder shows of itself.

use std::sync::Arc;

use super::{Engine, Hold, Loss};
use crate::error::{Error, Outcome};

impl Engine {
    /// Show another label of a lease that is renewed in the background.
    pub(crate) async fn relabel(&self, hold: &Hold, label: Arc<str>) -> Result<(), Error> {
        let _one_at_a_time = hold.relabels.lock().await;
        self.check_open()?;
        if !hold.is_valid(self.runtime.now()) {
            return Err(self.over(hold));
        }
        let limit = self.request_limit(hold.ttl());
        // It may restart the ttl on the server.
        hold.renewing(hold.ttl(), self.runtime.now() + limit);
        let answer = self.request(limit, self.backend().relabel(&hold.as_held(), &label)).await;
        let is_held = answer.map_err(|e| match hold.is_valid(self.runtime.now()) {
            true => e.with_outcome(Outcome::Held).about(&hold.held.name, self.describe()),
            false => e.about(&hold.held.name, self.describe()),
        })?;
        if !is_held && !hold.is_over() {
            self.keeper.remove(hold);
            self.lose(hold, Loss::Gone);
        }
        if !is_held || !hold.is_valid(self.runtime.now()) {
            return Err(self.over(hold));
        }
        *hold.shown() = label;
        Ok(())
    }
}
