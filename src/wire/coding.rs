//! Which content coding a client takes: `Accept-Encoding` (RFC 9110 §12.5.3).

use super::syntax::{list_items, weight_of};

/// Whether a client is better served with gzip than with content as it is. `fields` are the values of all its
/// `Accept-Encoding`.
///
/// Who takes neither gets content as it is all the same: it is more use than a 406. So does who sends no such field,
/// though that means that any coding would do: those are mostly scripts, which could not read it.
pub fn prefers_gzip<'a>(fields: impl Iterator<Item = &'a str>) -> bool {
    let mut weights = Weights::default();
    fields.flat_map(list_items).for_each(|item| weights.take(item));
    let gzip = weights.gzip.or(weights.others).unwrap_or(0);
    // What is as good is chosen for being smaller. To be preferred, though not to be acceptable, `identity` is listed.
    gzip > 0 && gzip >= weights.identity.or(weights.others).unwrap_or(0)
}

/// In thousandths, of what is listed.
#[derive(Default)]
struct Weights {
    gzip: Option<u16>,
    identity: Option<u16>,
    /// `*`: every coding that is not listed, `identity` among them.
    others: Option<u16>,
}

impl Weights {
    /// Takes one item of the list. One that is malformed says nothing, nor does one of a coding that is unknown here.
    fn take(&mut self, item: &str) {
        let (coding, parameter) = item.split_once(';').map_or((item, None), |(coding, rest)| (coding, Some(rest)));
        let Some(weight) = parameter.map_or(Some(1000), weight_of) else { return };
        let coding = coding.trim_end_matches([' ', '\t']);
        // RFC 9110 §8.4.1.3: x-gzip is the same.
        let place = match coding {
            "*" => &mut self.others,
            _ if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => &mut self.gzip,
            _ if coding.eq_ignore_ascii_case("identity") => &mut self.identity,
            _ => return,
        };
        place.get_or_insert(weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_take_it_and_like_nothing_better() {
        for (fields, expected) in [
            (&[][..], false),
            (&[""], false),
            (&["gzip"], true),
            (&["gzip, deflate, br, zstd"], true),
            (&["deflate, br"], false),
            (&["GZip"], true),
            (&["x-gzip"], true),
            (&["gzipped"], false),
            (&["compress, gzip"], true),
            (&["br", "gzip"], true),
            (&[" ,, gzip ,"], true),
            // Weights.
            (&["gzip;q=1.0"], true),
            (&["gzip ; Q=0.001"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.000, *"], false),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], true),
            (&["gzip;q=0.5, identity;q=0.5"], true),
            (&["gzip;q=0.5, identity"], false),
            (&["gzip;q=0.5, identity;q=0.501"], false),
            (&["compress;q=0.5, gzip;q=1.0"], true),
            (&["identity"], false),
            // `*` is every coding that is not listed.
            (&["*"], true),
            (&["*;q=0"], false),
            (&["gzip, *;q=0"], true),
            (&["*, gzip;q=0"], false),
            (&["*;q=0.5, gzip;q=0.1"], false),
            (&["*;q=0.5, identity"], false),
            (&["*;q=0.5, identity;q=0.1"], true),
            // Nothing that is there is acceptable.
            (&["identity;q=0"], false),
            (&["identity;q=0, *"], true),
            (&["identity;q=0, gzip;q=0"], false),
            // What is malformed says nothing, and of what is said twice the first counts.
            (&["gzip;q=2"], false),
            (&["gzip;q=0.5;q=1"], false),
            (&["gzip;level=9"], false),
            (&["gzip;"], false),
            (&["gzip;q=0, gzip"], false),
            (&["gzip deflate"], false),
        ] {
            assert_eq!(prefers_gzip(fields.iter().copied()), expected, "{fields:?}");
        }
    }
}
