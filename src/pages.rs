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

/// A sequence that only grows, by pages of 256 elements.
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

    #[inline]
    fn at(&self, index: u32) -> Option<&T> {
        self.pages.get(index as usize / PAGE)?.get(index as usize % PAGE)
    }

    #[inline]
    fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.pages.get_mut(index as usize / PAGE)?.get_mut(index as usize % PAGE)
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

/// A slab: elements under small dense numbers, which are used again.
///
/// Not the crate of that name, whose table is one `Vec`. `T` should have a niche, so that an empty
/// place costs nothing more.
#[derive(Debug)]
pub(crate) struct Table<T> {
    places: Pages<Option<T>>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Table<T> {
        Table { places: Pages::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// What the table takes beyond its elements: places are not given back.
    pub(crate) fn spare_bytes(&self) -> usize {
        let held_bytes = self.places.held_bytes() + heap_bytes(self.free.capacity() * size_of::<u32>());
        held_bytes.saturating_sub(self.len() * size_of::<Option<T>>())
    }

    pub(crate) fn insert(&mut self, element: T) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.places[index] = Some(element);
                index
            }
            None => self.places.push(Some(element)),
        }
    }

    /// Takes the element out. Its number stays unused until [`Table::recycle`].
    pub(crate) fn take(&mut self, index: u32) -> Option<T> {
        self.places.at_mut(index)?.take()
    }

    /// Lets a number whose element was taken out be used again.
    pub(crate) fn recycle(&mut self, index: u32) {
        debug_assert!(self.places[index].is_none(), "a number is recycled after its element has gone");
        self.free.push(index);
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let element = self.take(index)?;
        self.recycle(index);
        Some(element)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.places.at(index)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.places.at_mut(index)?.as_mut()
    }

    /// Every number in use, in ascending order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.places.len() as u32).filter(|index| self.places[*index].is_some())
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
}
