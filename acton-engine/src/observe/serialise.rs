//! How times are serialised: as numbers, in seconds with a fraction.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A wall clock's time: seconds since 1970.
pub(crate) mod unix_seconds {
    use serde::{Deserializer, Serializer};

    use super::{SystemTime, UNIX_EPOCH, as_seconds};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        as_seconds::serialize(&time.duration_since(UNIX_EPOCH).unwrap_or_default(), to)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<SystemTime, D::Error> {
        Ok(UNIX_EPOCH + as_seconds::deserialize(from)?)
    }
}

/// A length of time.
pub(crate) mod as_seconds {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Duration;

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A length of time that may not be known or set.
pub(crate) mod optional_seconds {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Duration;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.serialize_some(&time.as_secs_f64()),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(from)?;
        seconds.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
    }
}
