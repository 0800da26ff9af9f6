//! Countries of source addresses.

use attache_core::event::ConditionOutcome;

use super::{Horizon, met};
use crate::context::{Context, Country};

/// ISO 3166-1 alpha-2, and XK, which address databases use for Kosovo.
const KNOWN: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV \
    BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES \
    ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE \
    IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY \
    MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU \
    NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM \
    SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE \
    VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// Some countries, never none.
#[derive(Debug)]
pub(crate) struct Countries(pub(crate) Box<[Country]>);

impl Countries {
    /// An address whose country is not known, or not any more, is in none and outside of none.
    pub(super) fn read(&self, context: &Context<'_>, once: Horizon) -> (ConditionOutcome, Horizon) {
        let source = context.source.map(|source| source.to_canonical());
        let located = source
            .and_then(|source| context.geography.locate(source))
            .filter(|location| context.now < location.good_until);
        let Some(location) = located else {
            return (ConditionOutcome::Unavailable, once);
        };
        let until = once.until.min(location.good_until);
        (
            met(self.0.contains(&location.country)),
            Horizon { until, ..once },
        )
    }

    /// The codes that exist.
    pub(crate) fn known() -> impl Iterator<Item = &'static str> {
        KNOWN.split_ascii_whitespace()
    }
}
