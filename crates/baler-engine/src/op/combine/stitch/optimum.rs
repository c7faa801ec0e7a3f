//! The exact optimum of a join: a dynamic programme over the pieces that may be copied, in linear time.
//!
//! Write `m`, `M`, `t` for `min_part`, `max_part`, `target_read_part`. A plan alternates *runs*, maximal stretches of
//! bytes that are uploaded, and copied ranges. A run needs at least `m` bytes unless it ends the object; so does a
//! copied range. Either, once allowed, can be cut into `ceil(length / t)` or `ceil(length / M)` parts that keep the
//! limits, because `t` and `M` are at least `2 m`. Pieces without bytes change nothing and are left out. The
//! objective counts bytes first, so whatever saves one byte wins over any number of requests.
//!
//! **What is copied of a piece is one range.** A run inside one piece, between two ranges copied from it, could be
//! copied with them: fewer bytes. So a piece is read whole, or its *head* (first bytes), its *tail* (last bytes), both
//! or neither are read and what lies between is copied.
//!
//! **Anchors.** A piece shorter than `m` cannot be copied, not even in part, unless it ends the object. The others, and
//! the last piece if it is copyable, are *anchors*. Between two neighbouring anchors lies a *gap*: the small and local
//! pieces between them, `gap` bytes, uploaded in any case.
//!
//! **How much is borrowed.** Say two neighbouring anchors are both copied. With `gap = 0` nothing is read between them,
//! with `gap >= m` the gap is a run by itself. Otherwise the run lacks `d = m - gap` bytes, which the tail of the left
//! and the head of the right anchor must give: exactly `d`, for giving more reads more and helps nobody, since a longer
//! copied range is never forbidden. If an anchor is read whole, the runs that contain it have `m` bytes already or end
//! the object, and nothing is borrowed for them. Before the first anchor only the head of the first can give; behind
//! the last no run lacks anything. An anchor that is copied can give its *slack* with both ends together: `len - m`, or
//! `len - 1` if it ends the object.
//!
//! **At most two neighbouring anchors are read whole.** Of three, the middle one can be copied: the runs beside it
//! still contain the outer ones, so no other byte is read and its own are saved. Therefore the length of a run, on
//! which its number of parts depends, is known from two cases: it contains one anchor or two.
//!
//! **Which split of `d` matters.** Call an anchor *huge* if `len > M`, so that its number of copied parts may depend
//! on what it gives. As `M >= 3 m`, a huge anchor can give up to `m - 1` bytes at either end whatever happens at the
//! other. All splits read the same bytes; a one-sided split costs one GET, any other two. Let `tail` be what the left
//! anchor gives, at most `min(d, slack - head)`:
//!
//! - *left huge*: against any true split, `tail = d` saves a GET, copies no more of the left, gives the right anchor a
//!   smaller head, and so costs at most one copied part more, there, if that is huge;
//! - *right huge, left not*: `tail = 0` saves a GET over any true split; the left anchor is one part in any case, and a
//!   larger head never means more parts;
//! - *neither huge*: both are one copied part in any case, so only the right one's head matters for what follows, and a
//!   smaller head leaves more to give. Among true splits the one with the largest tail is best, and if `tail = d` is
//!   possible it is best of all.
//!
//! So only three values count: `tail = d`; `tail = 0`; and, between anchors that are not huge, the left one giving all
//! that it has left, `tail = slack - head`, so that exactly `m` bytes of it are copied.
//!
//! **The state.** For an anchor that is copied, the programme keeps pairs of (head, least cost). If it is not huge, a
//! pair is useless when another has no larger head and no larger cost; so heads rise while costs fall. Let `i` and `j`
//! be neighbouring anchors, neither huge, with a gap that lacks `d`. Then
//!
//! - pairs of `i` with `head <= slack - d`, which can give all, become one pair of `j` with head 0, together with the
//!   plans that read `i` whole;
//! - the last pair, the cheapest, also gives head `d` with one GET, if `j` has that slack;
//! - all the others give all that they have left: *each* head grows by `d - slack` and *each* cost by the same amount,
//!   and those that exceed the slack of `j` end.
//!
//! The pairs sit in a double-ended queue with a common offset, so the third rule costs nothing, and the others push one
//! pair and pop for good what they make useless: constant time per anchor, over all. In every other transition what
//! follows depends on the cheapest pair alone, and the queue starts again with one pair or, behind or before a huge
//! anchor, with two (heads 0 and `d`), of which neither is useless while the anchor is huge.

use std::collections::VecDeque;

use super::{Limits, Piece, Source};

/// What becomes of an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is read whole.
    Read,
    /// All but its ends is copied; the ends are read. Units: bytes.
    Copy {
        /// Bytes read at its start.
        head: u64,
        /// Bytes read at its end.
        tail: u64,
    },
}

/// Bytes read in the upper half, requests in the lower: comparing numbers compares bytes first.
///
/// Signed, because costs are stored relative to a common offset. Bytes are below 2^63 and so are requests.
type Cost = i128;

const REQUEST: Cost = 1;

fn bytes(count: u64) -> Cost {
    Cost::from(count) << 64
}

/// A piece that may be copied.
#[derive(Debug)]
struct Anchor {
    piece: usize,
    len: u64,
    /// What its ends can give together while the rest is still copied.
    slack: u64,
    /// Bytes between it and the next anchor, or the end.
    gap: u64,
}

/// A step on the way to a plan: how anchor `born` is treated, and, for a copied one, all the anchors behind it that are
/// copied with `tail = slack - head`, up to the step that names this one as its parent.
#[derive(Debug)]
struct Node {
    born: usize,
    state: State,
    parent: Option<usize>,
    /// What the last anchor of the parent gives with its tail.
    parent_tail: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Read,
    Copied { head: u64 },
}

/// A pair of (head, cost) of an anchor that is copied, both relative to the offsets of its queue.
#[derive(Debug, Clone, Copy)]
struct Pair {
    head: i128,
    cost: Cost,
    node: usize,
}

/// A plan whose last anchor was read whole: its run is still open.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Without the parts of the open run.
    cost: Cost,
    /// Length of the open run up to the end of the anchor.
    run: u64,
    node: usize,
}

/// A way to go on: what it costs, whence it comes, and the tail that its origin gives.
#[derive(Debug, Clone, Copy)]
struct Way {
    cost: Cost,
    parent: Option<usize>,
    tail: u64,
}

/// Decides what becomes of each anchor: pairs of (index of the piece, fate) in the order of the pieces.
///
/// Every piece that is not named is uploaded whole. The limits were checked and the lengths sum up to less than 2^63.
/// Cost: time and memory linear in the number of pieces.
pub(super) fn fates(pieces: &[Piece], limits: &Limits) -> Vec<(usize, Fate)> {
    let (first_gap, anchors) = anchors(pieces, limits);
    if anchors.is_empty() {
        return Vec::new();
    }
    let mut search = Search::start(&anchors, first_gap, limits);
    for next in 1..anchors.len() {
        search.advance(next);
    }
    search.finish()
}

fn anchors(pieces: &[Piece], limits: &Limits) -> (u64, Vec<Anchor>) {
    let last = pieces.iter().rposition(|piece| piece.len > 0);
    let mut first_gap = 0;
    let mut anchors: Vec<Anchor> = Vec::new();
    for (index, &Piece { len, source }) in pieces.iter().enumerate() {
        let slack = match source {
            Source::Local => None,
            // The last part has no least size.
            Source::Copyable if Some(index) == last => len.checked_sub(1),
            Source::Copyable => len.checked_sub(limits.min_part),
        };
        match (slack, anchors.last_mut()) {
            (Some(slack), _) => anchors.push(Anchor { piece: index, len, slack, gap: 0 }),
            (None, Some(anchor)) => anchor.gap += len,
            (None, None) => first_gap += len,
        }
    }
    (first_gap, anchors)
}

struct Search<'a> {
    anchors: &'a [Anchor],
    limits: &'a Limits,
    nodes: Vec<Node>,
    /// Index of the last anchor that was decided; all that follows is about it.
    at: usize,
    /// Pairs of the plans that copy it.
    copied: VecDeque<Pair>,
    head_offset: i128,
    cost_offset: Cost,
    /// The best plan that reads it whole but not the one before it.
    read_one: Option<Open>,
    /// The best plan that reads it and the one before it whole, but not the one before those.
    read_two: Option<Open>,
}

impl<'a> Search<'a> {
    fn start(anchors: &'a [Anchor], first_gap: u64, limits: &'a Limits) -> Self {
        let mut search = Self {
            anchors,
            limits,
            nodes: Vec::with_capacity(anchors.len() * 3),
            at: 0,
            copied: VecDeque::new(),
            head_offset: 0,
            cost_offset: 0,
            read_one: None,
            read_two: None,
        };
        let way = Way { cost: 0, parent: None, tail: 0 };
        search.read_one = search.read(Some(way), first_gap, 0);
        match search.lack(first_gap) {
            None => search.push_whole(Way { cost: search.puts(first_gap), ..way }),
            Some(lack) if lack <= anchors[0].slack => search.push_part(Way { cost: 2 * REQUEST, ..way }, lack),
            Some(_) => {}
        }
        search
    }

    /// What a gap lacks to be a run between two copied anchors.
    fn lack(&self, gap: u64) -> Option<u64> {
        (gap > 0 && gap < self.limits.min_part).then(|| self.limits.min_part - gap)
    }

    /// Parts of a run.
    fn puts(&self, run: u64) -> Cost {
        Cost::from(run.div_ceil(self.limits.target_read_part))
    }

    /// Parts of a copied range.
    fn copies(&self, range: u64) -> Cost {
        Cost::from(range.div_ceil(self.limits.max_part))
    }

    fn huge(&self, anchor: usize) -> bool {
        self.anchors[anchor].len > self.limits.max_part
    }

    fn node(&mut self, born: usize, state: State, way: Way) -> usize {
        self.nodes.push(Node { born, state, parent: way.parent, parent_tail: way.tail });
        self.nodes.len() - 1
    }

    fn pairs(&self) -> impl DoubleEndedIterator<Item = (u64, Cost, usize)> + '_ {
        // Heads are between zero and the slack of the anchor.
        self.copied.iter().map(|pair| ((pair.head + self.head_offset) as u64, pair.cost + self.cost_offset, pair.node))
    }

    /// The best way that copies the anchor up to its end.
    fn copied_to_the_end(&self) -> Option<Way> {
        let len = self.anchors[self.at].len;
        let way = |(head, cost, node)| Way { cost: cost + self.copies(len - head), parent: Some(node), tail: 0 };
        if self.huge(self.at) {
            self.pairs().map(way).min_by_key(|way| way.cost)
        } else {
            self.pairs().next_back().map(way)
        }
    }

    /// The best way that reads the anchor whole and closes the run behind the gap.
    fn read_to_the_end_of_the_gap(&self) -> Option<Way> {
        let gap = self.anchors[self.at].gap;
        let way = |open: Open| Way { cost: open.cost + self.puts(open.run + gap), parent: Some(open.node), tail: 0 };
        self.read_one.into_iter().chain(self.read_two).map(way).min_by_key(|way| way.cost)
    }

    /// Reads `anchor` whole, behind `run` bytes of an open run.
    fn read(&mut self, way: Option<Way>, run: u64, anchor: usize) -> Option<Open> {
        let way = way?;
        let len = self.anchors[anchor].len;
        let node = self.node(anchor, State::Read, way);
        Some(Open { cost: way.cost + bytes(len) + REQUEST, run: run + len, node })
    }

    /// Adds the pair with head 0; unless the anchor is huge, it makes useless whatever is not cheaper.
    fn push_whole(&mut self, way: Way) {
        let node = self.node(self.at, State::Copied { head: 0 }, way);
        let pair = Pair { head: -self.head_offset, cost: way.cost - self.cost_offset, node };
        if !self.huge(self.at) {
            while self.copied.pop_front_if(|front| front.cost >= pair.cost).is_some() {}
        }
        self.copied.push_front(pair);
    }

    /// Adds the pair whose head is all that the run lacks: no head is larger, and no pair is cheaper.
    fn push_part(&mut self, way: Way, lack: u64) {
        let node = self.node(self.at, State::Copied { head: lack }, Way { cost: way.cost + bytes(lack), ..way });
        let cost = way.cost + bytes(lack) - self.cost_offset;
        let head = i128::from(lack) - self.head_offset;
        while self.copied.pop_back_if(|back| back.head >= head).is_some() {}
        self.copied.push_back(Pair { head, cost, node });
    }

    /// Decides the next anchor.
    fn advance(&mut self, next: usize) {
        let gap = self.anchors[self.at].gap;
        let copied = self.copied_to_the_end();
        let read = self.read_to_the_end_of_the_gap();
        let first = self.read(copied, gap, next);
        let second_way = self.read_one.map(|open| Way { cost: open.cost, parent: Some(open.node), tail: 0 });
        let second = self.read(second_way, self.read_one.map_or(0, |open| open.run) + gap, next);
        match self.lack(gap) {
            None => {
                let copied = copied.map(|way| Way { cost: way.cost + self.puts(gap), ..way });
                self.copied.clear();
                self.at = next;
                if let Some(way) = copied.into_iter().chain(read).min_by_key(|way| way.cost) {
                    self.push_whole(way);
                }
            }
            Some(lack) => self.borrow(next, lack, copied, read),
        }
        (self.read_one, self.read_two) = (first, second);
    }

    /// Copies the next anchor behind a gap that lacks bytes. `copied` and `read` are the best ways that end with the
    /// anchor at hand copied to its end, or read with the gap.
    fn borrow(&mut self, next: usize, lack: u64, copied: Option<Way>, read: Option<Way>) {
        let Anchor { len, slack, .. } = self.anchors[self.at];
        // One uploaded part, one GET at one side.
        let run = bytes(lack) + 2 * REQUEST;
        let mut whole = read;
        let mut offer = |way: Way| {
            if whole.is_none_or(|best| way.cost < best.cost) {
                whole = Some(way);
            }
        };
        if self.huge(self.at) {
            for (head, cost, node) in self.pairs() {
                offer(Way { cost: cost + self.copies(len - head - lack) + run, parent: Some(node), tail: lack });
            }
            self.copied.clear();
        } else {
            // Whoever can give all; the last of them is the cheapest.
            let limit = i128::from(slack) - i128::from(lack) - self.head_offset;
            while let Some(pair) = self.copied.pop_front_if(|pair| pair.head <= limit) {
                let cost = pair.cost + self.cost_offset + REQUEST + run;
                offer(Way { cost, parent: Some(pair.node), tail: lack });
            }
            if self.huge(next) {
                self.copied.clear();
            }
            // Whoever is left gives all that it has left: the anchor's one copy, and one GET more.
            self.head_offset += i128::from(lack) - i128::from(slack);
            self.cost_offset += run + 2 * REQUEST;
        }
        self.at = next;
        let limit = i128::from(self.anchors[next].slack) - self.head_offset;
        while self.copied.pop_back_if(|pair| pair.head > limit).is_some() {}
        if let Some(way) = copied
            && lack <= self.anchors[next].slack
        {
            self.push_part(Way { cost: way.cost + 2 * REQUEST, ..way }, lack);
        }
        if let Some(way) = whole {
            self.push_whole(way);
        }
    }

    /// Ends the object behind the last anchor and walks back over the nodes.
    fn finish(self) -> Vec<(usize, Fate)> {
        let gap = self.anchors[self.at].gap;
        let copied = self.copied_to_the_end().map(|way| Way { cost: way.cost + self.puts(gap), ..way });
        let mut way = copied
            .into_iter()
            .chain(self.read_to_the_end_of_the_gap())
            .min_by_key(|way| way.cost)
            .expect("an anchor behind one that is read can be copied, so reading every other one is a plan");
        let mut fates = vec![Fate::Read; self.anchors.len()];
        let mut until = self.at;
        while let Some(index) = way.parent {
            let node = &self.nodes[index];
            match node.state {
                State::Read => fates[node.born] = Fate::Read,
                State::Copied { mut head } => {
                    let chain = node.born..until;
                    for (anchor, fate) in self.anchors[chain.clone()].iter().zip(&mut fates[chain]) {
                        let tail = anchor.slack - head;
                        *fate = Fate::Copy { head, tail };
                        head = self.limits.min_part - anchor.gap - tail;
                    }
                    fates[until] = Fate::Copy { head, tail: way.tail };
                }
            }
            way = Way { parent: node.parent, tail: node.parent_tail, ..way };
            until = node.born.saturating_sub(1);
        }
        self.anchors.iter().map(|anchor| anchor.piece).zip(fates).collect()
    }
}
