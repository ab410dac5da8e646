//! Tables that grow a page at a time.
//!
//! A `Vec` that doubles copies the whole table in the middle of an accept burst and holds up to twice what it
//! needs. A page is allocated once and stays where it is.

use std::ops::{Index, IndexMut};

const PAGE: usize = 256;

/// What an allocation of so many bytes takes from the heap: with its header, in steps of 16 bytes, at least 32; a large
/// one is whole pages of the machine. So glibc has it; others are not far from it.
pub(crate) const fn heap_bytes(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=24 => 32,
        25..MAPPED_BYTES => (bytes + 8).next_multiple_of(16),
        _ => (bytes + 16).next_multiple_of(4096),
    }
}

/// From here on an allocation is mapped alone.
const MAPPED_BYTES: usize = 128 << 10;

/// A sequence that grows by pages of 256 elements: what is known of the elements of a [`Table`] beside it.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    pages: Vec<Vec<T>>,
}

impl<T> Pages<T> {
    pub(crate) const fn new() -> Pages<T> {
        Pages { pages: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len())
    }

    /// What the pages take, used or not.
    pub(crate) fn held_bytes(&self) -> usize {
        self.pages.len() * heap_bytes(PAGE * size_of::<T>()) + heap_bytes(self.pages.capacity() * size_of::<Vec<T>>())
    }

    pub(crate) fn push(&mut self, element: T) -> u32 {
        let index = self.len();
        match self.pages.last_mut() {
            Some(page) if page.len() < PAGE => page.push(element),
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(element);
                self.pages.push(page);
            }
        }
        u32::try_from(index).expect("no table has 2^32 elements: descriptors and memory end first")
    }

    /// Appends default elements until `index` exists.
    pub(crate) fn reach(&mut self, index: u32)
    where
        T: Default,
    {
        while self.len() <= index as usize {
            self.push(T::default());
        }
    }

    /// Gives back the pages of which all elements are at `end` or behind it. They are default ones by now.
    pub(crate) fn shrink(&mut self, end: usize) {
        self.pages.truncate(end.div_ceil(PAGE));
    }
}

impl<T> Index<u32> for Pages<T> {
    type Output = T;
    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.pages[index as usize / PAGE][index as usize % PAGE]
    }
}

impl<T> IndexMut<u32> for Pages<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.pages[index as usize / PAGE][index as usize % PAGE]
    }
}

/// A slab: elements under small dense numbers, which are used again, the lowest first. So pages at the end become empty
/// when there are fewer elements, and empty pages are given back.
///
/// Not the crate of that name, whose table is one `Vec`, and stays as large as it once was. `T` should have a niche, so
/// that an empty place costs nothing more.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// Without room where no number is in use.
    pages: Vec<Vec<Option<T>>>,
    /// Which numbers of each page are. Beside the pages, so that these lie close together.
    numbers: Vec<Numbers>,
    /// Numbers in use.
    used: usize,
    /// Pages that are not given back.
    held: usize,
    /// The pages before this one have no number left.
    first: usize,
}

/// The numbers of one page, a bit each, set where it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers([u64; PAGE / 64]);

impl Numbers {
    const NONE: Numbers = Numbers([0; PAGE / 64]);
    const ALL: Numbers = Numbers([u64::MAX; PAGE / 64]);

    /// Takes the lowest that is left, of which there is one.
    fn take(&mut self) -> usize {
        let word = self.0.iter().position(|word| *word != u64::MAX).unwrap_or(0);
        let bit = self.0[word].trailing_ones() as usize;
        self.0[word] |= 1 << bit;
        64 * word + bit
    }

    fn release(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Table<T> {
        Table { pages: Vec::new(), numbers: Vec::new(), used: 0, held: 0, first: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Every number in use is below this one.
    pub(crate) fn end(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// What the table takes beyond its elements: places on pages with others.
    pub(crate) fn spare_bytes(&self) -> usize {
        let lists_bytes = heap_bytes(self.pages.capacity() * size_of::<Vec<Option<T>>>())
            + heap_bytes(self.numbers.capacity() * size_of::<Numbers>());
        let held_bytes = self.held * heap_bytes(PAGE * size_of::<Option<T>>()) + lists_bytes;
        held_bytes.saturating_sub(self.len() * size_of::<Option<T>>())
    }

    pub(crate) fn insert(&mut self, element: T) -> u32 {
        while self.numbers.get(self.first) == Some(&Numbers::ALL) {
            self.first += 1;
        }
        if self.first == self.pages.len() {
            self.pages.push(Vec::new());
            self.numbers.push(Numbers::NONE);
        }
        let (page, numbers) = (&mut self.pages[self.first], &mut self.numbers[self.first]);
        if *numbers == Numbers::NONE {
            *page = Vec::with_capacity(PAGE);
            self.held += 1;
        }
        let number = numbers.take();
        match page.get_mut(number) {
            Some(place) => *place = Some(element),
            None => page.push(Some(element)),
        }
        self.used += 1;
        let index = self.first * PAGE + number;
        u32::try_from(index).expect("no table has 2^32 elements: descriptors and memory end first")
    }

    /// Takes the element out. Its number stays unused until [`Table::recycle`].
    pub(crate) fn take(&mut self, index: u32) -> Option<T> {
        self.place_mut(index)?.take()
    }

    /// Lets a number whose element was taken out be used again.
    pub(crate) fn recycle(&mut self, index: u32) {
        debug_assert!(self.get(index).is_none(), "a number is recycled after its element has gone");
        let at = index as usize / PAGE;
        self.numbers[at].release(index as usize % PAGE);
        self.used -= 1;
        self.first = self.first.min(at);
        if self.numbers[at] == Numbers::NONE {
            self.pages[at] = Vec::new();
            self.held -= 1;
        }
        while self.numbers.last() == Some(&Numbers::NONE) {
            self.numbers.pop();
            self.pages.pop();
        }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let element = self.take(index)?;
        self.recycle(index);
        Some(element)
    }

    #[inline]
    fn place_mut(&mut self, index: u32) -> Option<&mut Option<T>> {
        self.pages.get_mut(index as usize / PAGE)?.get_mut(index as usize % PAGE)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.pages.get(index as usize / PAGE)?.get(index as usize % PAGE)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.place_mut(index)?.as_mut()
    }

    /// Every number in use, in ascending order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.end() as u32).filter(|index| self.get(*index).is_some())
    }
}

impl<T> Index<u32> for Table<T> {
    type Output = T;
    #[inline]
    fn index(&self, index: u32) -> &T {
        self.get(index).expect("the number is in use: whoever removes an element forgets its number")
    }
}

impl<T> IndexMut<u32> for Table<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).expect("the number is in use: whoever removes an element forgets its number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_only_after_it_was_recycled() {
        let mut table = Table::new();
        let numbers: Vec<u32> = (0..600).map(|n| table.insert(n)).collect();
        assert_eq!(table.take(7), Some(7));
        assert_eq!(table.insert(1000), 600);
        table.recycle(7);
        assert_eq!(table.insert(1001), 7);
        assert_eq!((table.len(), table[599], numbers.len()), (601, 599, 600));
        assert_eq!(table.get(5000), None);
    }

    #[test]
    fn low_numbers_come_first_and_empty_pages_are_given_back() {
        let mut table = Table::new();
        (0..10 * PAGE as u32).for_each(|n| assert_eq!(table.insert(n), n));
        for n in (0..10 * PAGE as u32).filter(|n| *n != 700) {
            assert_eq!(table.remove(n), Some(n));
        }
        assert_eq!((table.len(), table.end(), table.held), (1, 3 * PAGE, 1));
        assert_eq!(table.numbers().collect::<Vec<_>>(), [700]);
        assert_eq!((table.insert(1), table.insert(2), table.held), (0, 1, 2));
        assert_eq!((table.remove(700), table.end()), (Some(700), PAGE));
        assert_eq!((table.remove(0), table.remove(1), table.end(), table.held), (Some(1), Some(2), 0, 0));
    }
}
