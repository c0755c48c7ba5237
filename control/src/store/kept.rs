//! A map that knows which of its entries were touched since they were last written.

use std::borrow::Borrow;
use std::collections::btree_map::{self, BTreeMap};
use std::collections::{BTreeSet, btree_set};
use std::ops::RangeBounds;

/// A map whose touched keys can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<K, V> {
    values: BTreeMap<K, V>,
    touched: BTreeSet<K>,
}

impl<K: Ord + Clone, V> Kept<K, V> {
    /// What was kept.
    pub fn restored(values: impl IntoIterator<Item = (K, V)>) -> Self {
        Self {
            values: values.into_iter().collect(),
            touched: BTreeSet::new(),
        }
    }

    /// What was kept under that key.
    pub fn restore(&mut self, key: K, value: V) {
        self.values.insert(key, value);
    }

    /// The value of that key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.values.get(key)
    }

    /// There is such a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.values.contains_key(key)
    }

    /// The value of that key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let value = self.values.get_mut(key)?;
        self.touched.insert(key.clone());
        Some(value)
    }

    /// The same, for what is not kept of it.
    pub fn get_mut_unkept(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key)
    }

    /// The value of that key, which is made if it is missing.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.touched.insert(key.clone());
        self.values.entry(key).or_insert_with(make)
    }

    /// Takes the value of that key out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.values.remove(key)?;
        self.touched.insert(key.clone());
        Some(value)
    }

    /// Says that this key was touched, whether it is there or not.
    pub fn touch(&mut self, key: K) {
        self.touched.insert(key);
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> btree_map::Values<'_, K, V> {
        self.values.values()
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.values.iter()
    }

    /// The entries of these keys.
    pub fn range(&self, range: impl RangeBounds<K>) -> btree_map::Range<'_, K, V> {
        self.values.range(range)
    }

    /// Changes those values that `change` says it changed.
    pub fn change_some(&mut self, mut change: impl FnMut(&mut V) -> bool) {
        for (key, value) in &mut self.values {
            if change(value) {
                self.touched.insert(key.clone());
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The keys that were touched since this was last asked.
    pub fn take_touched(&mut self) -> btree_set::IntoIter<K> {
        std::mem::take(&mut self.touched).into_iter()
    }

    /// Everything is to be written again.
    pub fn touch_all(&mut self) {
        self.touched.extend(self.values.keys().cloned());
    }

    /// Nothing was touched.
    pub fn is_untouched(&self) -> bool {
        self.touched.is_empty()
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_is_touched_and_what_is_looked_at_is_not() {
        let mut kept = Kept::restored([(1, 'a'), (2, 'b'), (3, 'c')]);
        assert!(kept.is_untouched());
        assert!(kept.get(&1).is_some() && kept.range(1..).count() == 3);
        assert!(kept.get_mut_unkept(&2).is_some());
        assert!(kept.is_untouched());
        assert!(kept.get_mut(&9).is_none() && kept.remove(&9).is_none());
        assert!(kept.is_untouched());
        *kept.get_mut(&1).expect("there") = 'x';
        kept.remove(&2);
        kept.get_or_insert_with(4, || 'd');
        assert_eq!(kept.take_touched().collect::<Vec<_>>(), [1, 2, 4]);
        kept.change_some(|value| *value == 'c');
        assert_eq!(kept.take_touched().collect::<Vec<_>>(), [3]);
        assert!(kept.is_untouched());
    }
}
