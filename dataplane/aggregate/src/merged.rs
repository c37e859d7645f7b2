//! What other instances sent, and an index of it by context.
//!
//! It is held to the budget: what finds no room is merged into one overflow series of its kind.

use std::sync::Arc;

use hashbrown::HashTable;
use veneur_metric::{Context, Kind, Scope};

use crate::{
    Budget, Seed,
    cells::Cell,
    fingerprint::Named,
    heavy::Heavy,
    interval::visit,
    table::{names_bytes, overflow_context},
};

/// Where a partial was merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// In its own series.
    Own,
    /// In the overflow series of its kind, for lack of room.
    Overflow,
}

/// What imports take of the budget; given back when the interval is gone.
#[derive(Debug)]
pub(crate) struct Imported {
    budget: Arc<Budget>,
    contexts: usize,
    bytes: usize,
    /// Names of which something found no room, the heaviest of them.
    pub(crate) folded: Heavy,
}

impl Imported {
    pub(crate) fn within(budget: Arc<Budget>) -> Self {
        Self { budget, contexts: 0, bytes: 0, folded: Heavy::default() }
    }

    /// Whether a new context may be kept, whose value will have about `bytes` beside its cell; if so, it is charged.
    fn admits<T>(&mut self, context: &Context, bytes: usize) -> bool {
        let own = names_bytes(context) + size_of::<Cell<T>>();
        let admitted = self.budget.admits_imported(self.contexts, own + bytes);
        if admitted {
            self.contexts += 1;
            self.charge(own);
        }
        admitted
    }

    /// The place of a gauge among all that are set.
    pub(crate) fn order(&self) -> u32 {
        self.budget.order(1)
    }

    /// Changes a value, and charges what it grew by.
    pub(crate) fn grow<T>(&mut self, value: &mut T, size: impl Fn(&T) -> usize, change: impl FnOnce(&mut T)) {
        let before = size(value);
        change(value);
        self.charge(size(value).saturating_sub(before));
    }

    fn charge(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.take_bytes(bytes);
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        self.budget.give_back_bytes(self.bytes);
    }
}

/// The series that takes imports without room: everybody's, whichever scope was asked for.
fn overflow(kind: Kind) -> Context {
    let scope = if matches!(kind, Kind::Counter | Kind::Gauge) { Scope::Global } else { Scope::Mixed };
    Context { scope, ..overflow_context(kind) }
}

/// Cells with an index by context.
#[derive(Debug)]
pub(crate) struct Merged<T> {
    pub(crate) cells: Vec<Cell<T>>,
    index: HashTable<u32>,
}

impl<T> Default for Merged<T> {
    fn default() -> Self {
        Self { cells: Vec::new(), index: HashTable::new() }
    }
}

impl<T: Default> Merged<T> {
    /// What the cells are values of.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Named> {
        self.cells.iter().map(|cell| &*cell.named)
    }

    /// The place of a context's value, by the context's hash too.
    pub(crate) fn find(&self, hash: u64, context: &Context) -> Option<usize> {
        let same = |at: &u32| {
            let named = &self.cells[*at as usize].named;
            named.hash == hash && named.context == *context
        };
        self.index.find(hash, same).map(|at| *at as usize)
    }

    /// The value of a context that is to grow by about `bytes`, a new one if there is none; whether there was one; and
    /// whether it is that of the context, or of the overflow series.
    pub(crate) fn value(
        &mut self,
        seed: &Seed,
        context: Context,
        bytes: usize,
        imported: &mut Imported,
    ) -> (&mut T, bool, Joined) {
        let hash = seed.hash(&context);
        let (at, known, joined) = match self.find(hash, &context) {
            Some(at) if bytes == 0 || imported.budget.has_room(bytes) => (at, true, Joined::Own),
            None if imported.admits::<T>(&context, bytes) => (self.open(hash, context), false, Joined::Own),
            _ => {
                imported.folded.add(&context.name, 1);
                let context = overflow(context.kind);
                let hash = seed.hash(&context);
                let found = self.find(hash, &context);
                (found.unwrap_or_else(|| self.open(hash, context)), found.is_some(), Joined::Overflow)
            }
        };
        (&mut self.cells[at].value, known, joined)
    }

    fn open(&mut self, hash: u64, context: Context) -> usize {
        self.push(Cell { named: Arc::new(Named { hash, relative: false, context }), value: T::default() })
    }

    /// Adds the cells of a table; of a context that is there already, `merge` decides.
    pub(crate) fn absorb(&mut self, cells: Vec<Cell<T>>, mut merge: impl FnMut(&mut T, T)) {
        self.index.reserve(cells.len(), hash(&self.cells));
        self.cells.reserve(cells.len());
        visit(cells, false, |cell| match self.find(cell.named.hash, &cell.named.context) {
            Some(at) => merge(&mut self.cells[at].value, cell.value),
            None => {
                self.push(cell);
            }
        });
    }

    fn push(&mut self, cell: Cell<T>) -> usize {
        let (at, hashed) = (self.cells.len(), cell.named.hash);
        self.cells.push(cell);
        let index = u32::try_from(at).expect("memory for four billion contexts is never granted");
        self.index.insert_unique(hashed, index, hash(&self.cells));
        at
    }
}

fn hash<T>(cells: &[Cell<T>]) -> impl Fn(&u32) -> u64 {
    |at| cells[*at as usize].named.hash
}
