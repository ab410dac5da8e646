//! An input: what a target is told about a connection, how the bytes arrive, and the bytes.

/// `flags`, the number of cuts (of which there are at most 15), the cuts, the bytes.
pub struct Input<'a> {
    /// Whatever the target makes of it.
    pub flags: u8,
    /// The lengths of the pieces, again and again; 255 is all that is left.
    cuts: &'a [u8],
    /// What arrives.
    pub bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// `None` where there is not even how the bytes arrive.
    pub fn of(data: &'a [u8]) -> Option<Input<'a>> {
        let [flags, count, rest @ ..] = data else { return None };
        let (cuts, bytes) = rest.split_at_checked(usize::from(count % 16))?;
        Some(Input { flags: *flags, cuts, bytes })
    }

    /// Where the pieces end; the last of them at the end of the bytes. Some may be empty.
    pub fn ends(&self) -> Vec<usize> {
        let (mut ends, all) = (Vec::new(), self.bytes.len());
        if self.cuts.iter().any(|cut| *cut > 0) {
            let mut end = 0;
            for cut in self.cuts.iter().cycle().take_while(|cut| **cut < 255) {
                end += usize::from(*cut);
                if end >= all {
                    break;
                }
                ends.push(end);
            }
        }
        ends.push(all);
        ends
    }
}
