//! The VLANs of clients in the list as TOML.

use std::ops::Range;

use acton_bridge::{OuterTag, TagPair, VlanId, VlanRange, VlanSet, Vlans};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use toml::de::DeTable;

use super::values::{Value, Wrong, array, integer, one_or_more, parsed, string, wrong};
use crate::keys::clients::ListedClient;

/// Which client has which pair of tags.
#[derive(Default)]
pub(super) struct Pairs(HashMap<(VlanId, VlanId), String, RandomState>);

impl Pairs {
    /// Notes the pair of a client, which no other may have, nor may a client without one say of which kind
    /// its outer tag is; `at` is where its table begins.
    pub(super) fn add(
        &mut self,
        client: &ListedClient,
        table: &DeTable<'_>,
        at: &Range<usize>,
    ) -> Result<(), Wrong> {
        let Some(Vlans::Pair(pair)) = client.frames.vlans() else {
            return match table.get("tpid") {
                None => Ok(()),
                Some(value) => {
                    let problem = "it says of which kind the outer one of two tags is; write \
                                   vlan = \"1000.17\" too";
                    Err(wrong(&value.span(), problem))
                }
            };
        };
        match self.0.insert((pair.outer, pair.inner), client.name.clone()) {
            None => Ok(()),
            Some(other) => {
                let span = table.get("vlan").map_or_else(|| at.clone(), toml::Spanned::span);
                let problem =
                    format!("{pair} is {other}'s already; two tags are one client's alone");
                Err(wrong(&span, problem))
            }
        }
    }
}

/// Says where a table has keys that exclude one another.
pub(super) fn check_keys(table: &DeTable<'_>) -> Result<(), Wrong> {
    match (table.get("vlan"), table.get("vlans")) {
        (Some(_), Some(vlans)) => {
            let problem =
                "write vlan, and the client's frames have no tags, or vlans, and they have";
            Err(wrong(&vlans.span(), problem))
        }
        _ => Ok(()),
    }
}

/// The VLAN of a client whose frames have no tags: a number, or `"1000.17"` for two tags.
pub(super) fn vlan(value: Value<'_, '_>) -> Result<Vlans, Wrong> {
    let one = |text: &str| text.parse::<VlanId>().ok();
    let vlans = match (string(value), integer(value)) {
        (Some(text), _) => match text.split_once('.') {
            None => one(text).map(Vlans::Access),
            Some((outer, inner)) => one(outer).zip(one(inner)).map(|(outer, inner)| {
                Vlans::Pair(TagPair { outer, inner, tpid: OuterTag::default() })
            }),
        },
        (None, number) => {
            let number = number.and_then(|number| u16::try_from(number).ok());
            number.and_then(|number| VlanId::new(number).ok()).map(Vlans::Access)
        }
    };
    let problem = "no VLAN; write a number from 1 to 4094, or \"1000.17\" for two tags, the outer one \
                   first";
    vlans.ok_or_else(|| wrong(&value.span(), problem))
}

/// `"all"`, or the VLANs of a client whose frames have tags, 0 for those without.
pub(super) fn vlans(value: Value<'_, '_>) -> Result<Option<Vlans>, Wrong> {
    if string(value) == Some("all") {
        return Ok(None);
    }
    let problem =
        "no VLANs; write [100, \"200-210\"], 0 for frames without a tag, or vlans = \"all\"";
    let range = |value: Value<'_, '_>| {
        let number = || {
            let number = u16::try_from(integer(value)?).ok()?;
            VlanRange::new(number, number).ok()
        };
        parsed(value).or_else(number).ok_or_else(|| wrong(&value.span(), problem))
    };
    let ranges = one_or_more(value).into_iter().map(range).collect::<Result<_, _>>()?;
    let set = VlanSet::new(ranges).ok_or_else(|| wrong(&value.span(), problem))?;
    Ok(Some(Vlans::Tagged(set)))
}

/// The kind of an outer tag, by its number.
pub(super) fn outer_tag(value: Value<'_, '_>) -> Result<OuterTag, Wrong> {
    let tags = [OuterTag::Service, OuterTag::Customer];
    let found = tags.into_iter().find(|tag| integer(value) == Some(tag.number().into()));
    found.ok_or_else(|| wrong(&value.span(), "write 0x88a8 (802.1ad) or 0x8100 (802.1Q)"))
}

/// Has `line` write what says this of a client.
pub(super) fn vlan_lines(vlans: Option<&Vlans>, mut line: impl FnMut(&str, &str)) {
    match vlans {
        Some(Vlans::Access(vlan)) => line("vlan", &vlan.to_string()),
        Some(Vlans::Pair(pair)) => {
            line("vlan", &format!("\"{pair}\""));
            line("tpid", &format!("{:#06x}", pair.tpid.number()));
        }
        Some(Vlans::Tagged(set)) => line("vlans", &array(set.ranges())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::ClientList;
    use crate::keys::line::tests::KEY;
    use crate::keys::table::{parse, with};

    const OTHER: &str = "//////////////////////////////////////////8=";

    /// What a list says of its two clients.
    fn list(default: &str, one: &str, other: &str) -> String {
        format!(
            "[default]\n{default}\n[client.a]\nkey = \"{KEY}\"\n{one}\n[client.b]\nkey = \"{OTHER}\"\n\
             {other}\n"
        )
    }

    fn vlans_of(list: &ClientList, name: &str) -> Option<String> {
        list.find(name).unwrap().frames.vlans().map(ToString::to_string)
    }

    #[test]
    fn what_a_list_says_of_vlans() {
        for (default, one, said, other) in [
            ("", "vlan = 100", Some("100, untagged at the client"), None),
            ("", "vlan = \"4094\"", Some("4094, untagged at the client"), None),
            ("vlan = 7", "vlans = \"all\"", None, Some("7, untagged at the client")),
            (
                "vlan = 7",
                "vlans = [9, 0, \"20-22\"]",
                Some("0 (untagged), 9, 20-22 alone"),
                Some("7, untagged at the client"),
            ),
            ("vlans = \"1-9\"", "vlan = 5", Some("5, untagged at the client"), Some("1-9 alone")),
            (
                "",
                "vlan = \"1000.17\"",
                Some("1000.17 (802.1ad outside), untagged at the client"),
                None,
            ),
            (
                "tpid = 0x8100",
                "vlan = \"1000.17\"",
                Some("1000.17 (802.1Q outside), untagged at the client"),
                None,
            ),
            (
                "tpid = 0x8100",
                "vlan = \"1.2\"\ntpid = 0x88a8",
                Some("1.2 (802.1ad outside), untagged at the client"),
                None,
            ),
        ] {
            let text = list(default, one, "");
            let Ok(list) = parse(&text) else { panic!("{text}") };
            assert_eq!(vlans_of(&list, "a").as_deref(), said, "{text}");
            assert_eq!(vlans_of(&list, "b").as_deref(), other, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (default, one, other, place, right) in [
            ("", "vlan = 0", "", (5, 8), "1 to 4094"),
            ("", "vlan = 4095", "", (5, 8), "1 to 4094"),
            ("", "vlan = \"1000.0\"", "", (5, 8), "1000.17"),
            ("", "vlan = \"1.2.3\"", "", (5, 8), "1000.17"),
            ("", "vlan = [1]", "", (5, 8), "1 to 4094"),
            ("", "vlans = []", "", (5, 9), "200-210"),
            ("", "vlans = [1, \"9-8\"]", "", (5, 13), "200-210"),
            ("", "vlans = \"1.2\"", "", (5, 9), "200-210"),
            ("", "vlan = 1\nvlans = 1", "", (6, 9), "or vlans"),
            ("vlan = \"1.2\"", "", "", (2, 8), "in its table"),
            ("", "tpid = 0x8100", "", (5, 8), "1000.17"),
            ("", "vlan = \"1.2\"\ntpid = 0x9100", "", (6, 8), "0x88a8"),
            ("", "vlan = \"1.2\"", "vlan = \"1.2\"\ntpid = 0x8100", (8, 8), "a's already"),
        ] {
            let text = list(default, one, other);
            let error = parse(&text).map(|_| ()).unwrap_err();
            assert_eq!((error.line, error.column), place, "{text}: {error:?}");
            assert!(error.problem.contains(right), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(kind in 0..4_u8, one in 1..4_095_u16, two in 1..4_095_u16) {
            let id = |number| VlanId::new(number).unwrap();
            let pair = |tpid| TagPair { outer: id(one), inner: id(two), tpid };
            let vlans = match kind {
                0 => Vlans::Access(id(one)),
                1 => Vlans::Pair(pair(OuterTag::Service)),
                2 => Vlans::Pair(pair(OuterTag::Customer)),
                _ => {
                    let range = VlanRange::new(one.min(two), one.max(two)).unwrap();
                    Vlans::Tagged(VlanSet::new(vec![range, VlanRange::new(0, 0).unwrap()]).unwrap())
                }
            };
            let mut client = ListedClient::new([7; 32], "a".to_owned());
            let mut policy = client.frames.policy().clone();
            policy.vlans = Some(vlans);
            client.frames = std::sync::Arc::new(policy.into());
            let list = parse(&with(None, &client)).unwrap();
            prop_assert_eq!(list.get(&client.key), Some(&client));
        }
    }
}
