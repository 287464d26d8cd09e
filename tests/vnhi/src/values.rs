// SPDX-License-Identifier: GPL-2.0-only

//! Values in commands as people write them: `10us`, `1Gbit`, `1%`.

use std::time::Duration;

/// A probability: `0.01` or `1%`.
///
/// # Errors
///
/// When it is not a number from 0 to 1 (or 0% to 100%).
pub fn probability(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if (0.0..=scale).contains(&value) => Ok(value / scale),
        _ => Err(format!(
            "'{text}' is no probability: give 0 to 1, as in 0.01, or 0% to 100%, as in 1%"
        )),
    }
}

/// A time: `10us`, `1ms`, `0.5s`; `0` needs no unit.
///
/// # Errors
///
/// When unit or number are missing, or it is longer than an hour.
pub fn time(text: &str) -> Result<Duration, String> {
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let nanoseconds = scaled(text, &units).filter(|time| *time <= 3600e9);
    match nanoseconds {
        Some(nanoseconds) => Ok(Duration::from_secs_f64(nanoseconds / 1e9)),
        None => Err(format!(
            "'{text}' is no time: give a number and ns, us, ms or s, as in 10us; at most an hour"
        )),
    }
}

/// A rate in bits per second: `100Mbit`, `1Gbit`, `50MB`; `0` needs no unit.
///
/// # Errors
///
/// When unit or number are missing, or it is faster than a terabit.
pub fn rate(text: &str) -> Result<u64, String> {
    let units = [
        ("kbit", 1e3),
        ("Mbit", 1e6),
        ("Gbit", 1e9),
        ("kB", 8e3),
        ("MB", 8e6),
        ("GB", 8e9),
    ];
    match scaled(text, &units).filter(|rate| *rate <= 1e12) {
        // In range by the check above.
        #[allow(clippy::cast_possible_truncation)]
        Some(rate) => Ok(rate.round() as u64),
        None => Err(format!(
            "'{text}' is no rate: give a number and kbit, Mbit, Gbit, kB, MB or GB (per second), as in 100Mbit"
        )),
    }
}

/// A number with one of the units, multiplied by its scale.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let end = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    if !number.is_finite() || number < 0.0 {
        return None;
    }
    if unit.is_empty() {
        return (number == 0.0).then_some(0.0);
    }
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn probabilities() {
        assert_eq!(probability("0.01"), Ok(0.01));
        assert_eq!(probability("1%"), Ok(0.01));
        assert_eq!(probability("100%"), Ok(1.0));
        assert_eq!(probability("0"), Ok(0.0));
        for wrong in ["", "%", "1.1", "-0.1", "101%", "nan", "inf", "1 %", "x"] {
            assert!(probability(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("10us"), Ok(Duration::from_micros(10)));
        assert_eq!(time("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(time("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(time("250ns"), Ok(Duration::from_nanos(250)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        for wrong in [
            "", "10", "us", "10 us", "-1us", "1h", "3601s", "infs", "1e400s",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("100Mbit"), Ok(100_000_000));
        assert_eq!(rate("1Gbit"), Ok(1_000_000_000));
        assert_eq!(rate("50MB"), Ok(400_000_000));
        assert_eq!(rate("1.5Gbit"), Ok(1_500_000_000));
        assert_eq!(rate("0"), Ok(0));
        for wrong in ["", "100", "Mbit", "100Mb", "-1Mbit", "2000GB", "1Tbit"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,12}") {
            let _ = (probability(&text), time(&text), rate(&text));
        }
    }
}
