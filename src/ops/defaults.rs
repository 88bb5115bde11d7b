//! What the caller's containers.conf makes of the options of `run`.

use super::Error;
use crate::config::Env;
pub use crate::config::containers_conf::ContainersConf;

/// What the files say that the environment names; `None` if it names none.
pub fn load() -> Result<Option<ContainersConf>, Error> {
    let env = Env::process();
    match ContainersConf::is_named(env) {
        true => Ok(Some(ContainersConf::load(env)?)),
        false => Ok(None),
    }
}
