//! Values of a list as TOML, each with its place in the text, and what is wrong with them.

use std::borrow::Cow;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something wrong, at these bytes of the text.
pub(super) struct Wrong {
    pub(super) span: Range<usize>,
    pub(super) problem: Cow<'static, str>,
}

pub(super) type Value<'t, 'i> = &'t Spanned<DeValue<'i>>;

pub(super) fn wrong(span: &Range<usize>, problem: impl Into<Cow<'static, str>>) -> Wrong {
    Wrong { span: span.clone(), problem: problem.into() }
}

pub(super) fn table_of<'t, 'i>(value: Value<'t, 'i>) -> Result<&'t DeTable<'i>, Wrong> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => Err(wrong(&value.span(), "it is to be a table")),
    }
}

pub(super) fn string<'t>(value: Value<'t, '_>) -> Option<&'t str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

pub(super) fn integer(value: Value<'_, '_>) -> Option<u64> {
    match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

pub(super) fn boolean(value: Value<'_, '_>) -> Result<bool, Wrong> {
    match value.get_ref() {
        DeValue::Boolean(yes) => Ok(*yes),
        _ => Err(wrong(&value.span(), "write true or false")),
    }
}

pub(super) fn parsed<T: FromStr>(value: Value<'_, '_>) -> Option<T> {
    string(value)?.parse().ok()
}

/// The values of an array, or the one that stands in place of an array.
pub(super) fn one_or_more<'t, 'i>(value: Value<'t, 'i>) -> Vec<Value<'t, 'i>> {
    match value.get_ref() {
        DeValue::Array(values) => values.iter().collect(),
        _ => vec![value],
    }
}

/// Values as an array, each in quotes.
pub(super) fn array(values: impl IntoIterator<Item = impl ToString>) -> String {
    let values: Vec<_> =
        values.into_iter().map(|value| format!("\"{}\"", value.to_string())).collect();
    format!("[{}]", values.join(", "))
}
