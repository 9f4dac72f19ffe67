//! The trie of the filters with wildcards.
//!
//! Nodes are places in one vector; the way from a node to its child by name is an entry in one hash table for the whole
//! trie, keyed by (parent, name). So a level costs one look-up whether a node has two children or a million, and a node
//! with one child pays for one. `+` and `#` below a node are fields of it.

use crate::hash::{Seed, Table};
use crate::matches::MatchBuilder;
use crate::topic::{TopicFilter, TopicName, split_level};

use super::leaf::Leaf;

const ROOT: u32 = 0;
/// No child: the root is nobody's.
const NONE: u32 = 0;
/// In `Node::plus`: the node is free, and `Node::parent` is the next free one or `NONE`.
const FREE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Levels {
    /// The root first; empty while there is no filter.
    nodes: Vec<Node>,
    /// Children by name.
    edges: Table<u32>,
    /// First of the free nodes.
    free: u32,
    /// Nodes in use.
    live: usize,
    seed: Seed,
}

#[derive(Debug)]
struct Node {
    name: Name,
    /// The filter that ends here.
    here: Option<Box<Leaf>>,
    /// The filter that ends with a `#` below this node, for this level and all below [MQTT-4.7.1-2].
    below: Option<Box<Leaf>>,
    parent: u32,
    /// The child for any one level [MQTT-4.7.1-3].
    plus: u32,
    /// How many children have a name.
    children: u32,
}

/// The name of a level; most fit without an allocation.
#[derive(Debug)]
enum Name {
    Plus,
    Short(u8, [u8; Name::SHORT]),
    Long(Box<str>),
}

impl Name {
    const SHORT: usize = 22;

    fn new(text: &str) -> Self {
        let mut short = [0; Self::SHORT];
        match (short.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short(len, short)
            }
            _ => Self::Long(text.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plus => b"+",
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }
}

impl Node {
    fn new(name: Name, parent: u32) -> Self {
        Self { name, here: None, below: None, parent, plus: NONE, children: 0 }
    }

    fn is_free(&self) -> bool {
        self.plus == FREE
    }

    fn is_bare(&self) -> bool {
        self.here.is_none() && self.below.is_none() && self.plus == NONE && self.children == 0
    }
}

fn edge_hash(seed: &Seed, parent: u32, name: &[u8]) -> u64 {
    seed.hash(&(parent, name))
}

impl Levels {
    /// The vector of nodes is packed down to this many.
    const SMALL: usize = 64;

    pub(super) fn new(seed: Seed) -> Self {
        Self { nodes: Vec::new(), edges: Table::new(), free: NONE, live: 0, seed }
    }

    /// The leaf of `filter`, made if there is none; the caller puts something into it.
    pub(super) fn leaf_mut(&mut self, filter: &TopicFilter) -> &mut Leaf {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new(Name::new(""), ROOT));
            self.live = 1;
        }
        let mut at = ROOT;
        for level in filter.levels() {
            at = match level {
                "#" => return self.node_mut(at).below.get_or_insert_default(),
                "+" => match self.node(at).plus {
                    NONE => {
                        let plus = self.add(Name::Plus, at);
                        self.node_mut(at).plus = plus;
                        plus
                    }
                    plus => plus,
                },
                name => self.child(at, name).unwrap_or_else(|| self.add_named(at, name)),
            };
        }
        self.node_mut(at).here.get_or_insert_default()
    }

    /// Applies `change` to the leaf of `filter` if there is one; an emptied leaf goes, with the nodes only it needed.
    pub(super) fn change<T>(
        &mut self,
        filter: &TopicFilter,
        change: impl FnOnce(&mut Leaf) -> Option<T>,
    ) -> Option<T> {
        let (at, is_below) = self.find(filter)?;
        let node = self.node_mut(at);
        let place = if is_below { &mut node.below } else { &mut node.here };
        let leaf = place.as_mut()?;
        let result = change(leaf);
        if leaf.is_empty() {
            *place = None;
            self.prune(at);
        }
        result
    }

    /// Adds what `topic` matches. The `$` rule is the tree's: it doesn't ask the shard of leading wildcards.
    ///
    /// Visits only nodes whose levels match so far, each once: the work is bounded by the topic's levels and by the
    /// filters that share them, not by the filters there are.
    pub(super) fn collect(&self, topic: &TopicName<'_>, out: &mut MatchBuilder) {
        if self.nodes.is_empty() {
            return;
        }
        let mut stack = out.take_stack();
        stack.push((ROOT, Some(0)));
        while let Some((at, place)) = stack.pop() {
            let node = self.node(at);
            if let Some(leaf) = &node.below {
                leaf.collect(out);
            }
            let rest = place.and_then(|place| topic.as_str().get(place as usize..));
            match rest {
                None => {
                    if let Some(leaf) = &node.here {
                        leaf.collect(out);
                    }
                }
                Some(rest) if node.plus != NONE || node.children != 0 => {
                    let (name, after) = split_level(rest);
                    // A topic is at most 65,535 bytes long.
                    let next = after.map(|after| (topic.as_str().len() - after.len()) as u32);
                    if node.plus != NONE {
                        stack.push((node.plus, next));
                    }
                    if node.children != 0
                        && let Some(child) = self.child(at, name)
                    {
                        stack.push((child, next));
                    }
                }
                Some(_) => {}
            }
        }
        out.give_stack(stack);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.edges.is_empty()
    }

    /// Nodes that memory is held for.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.nodes.capacity()
    }

    /// The node at which `filter` ends, and whether it ends there with a `#`.
    fn find(&self, filter: &TopicFilter) -> Option<(u32, bool)> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut at = ROOT;
        for level in filter.levels() {
            at = match level {
                "#" => return Some((at, true)),
                "+" => Some(self.node(at).plus).filter(|&plus| plus != NONE)?,
                name => self.child(at, name)?,
            };
        }
        Some((at, false))
    }

    fn child(&self, parent: u32, name: &str) -> Option<u32> {
        let name = name.as_bytes();
        let hash = edge_hash(&self.seed, parent, name);
        self.edges
            .find(hash, |&id| {
                let node = self.node(id);
                node.parent == parent && node.name.bytes() == name
            })
            .copied()
    }

    fn add_named(&mut self, parent: u32, name: &str) -> u32 {
        let id = self.add(Name::new(name), parent);
        self.node_mut(parent).children += 1;
        let Self { nodes, edges, seed, .. } = self;
        edges.insert_unique(edge_hash(seed, parent, name.as_bytes()), id, |&id| hash_of(seed, nodes, id));
        id
    }

    fn add(&mut self, name: Name, parent: u32) -> u32 {
        self.live += 1;
        let node = Node::new(name, parent);
        if self.free == NONE {
            self.nodes.push(node);
            // Four billion nodes are more than the memory of any board this runs on holds.
            (self.nodes.len() - 1) as u32
        } else {
            let id = self.free;
            self.free = std::mem::replace(self.node_mut(id), node).parent;
            id
        }
    }

    /// Frees `at` and its ancestors as far as they lead nowhere.
    fn prune(&mut self, mut at: u32) {
        while at != ROOT && self.node(at).is_bare() {
            let parent = self.node(at).parent;
            if matches!(self.node(at).name, Name::Plus) {
                self.node_mut(parent).plus = NONE;
            } else {
                self.node_mut(parent).children -= 1;
                let hash = hash_of(&self.seed, &self.nodes, at);
                if let Ok(edge) = self.edges.find_entry(hash, |&id| id == at) {
                    edge.remove();
                }
            }
            let next = self.free;
            *self.node_mut(at) = Node { plus: FREE, ..Node::new(Name::Plus, next) };
            self.free = at;
            self.live -= 1;
            at = parent;
        }
        if self.live == 1 && self.node(ROOT).is_bare() {
            *self = Self::new(self.seed.clone());
        } else if self.nodes.len() > Self::SMALL && self.live < self.nodes.len() / 4 {
            self.pack();
        }
    }

    /// Moves the nodes together, so that a wave of subscribers that has left doesn't stay behind as memory.
    fn pack(&mut self) {
        let mut moved = vec![NONE; self.nodes.len()];
        let mut packed = Vec::with_capacity(self.live * 2);
        for (from, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if !node.is_free() {
                moved[from] = packed.len() as u32;
                packed.push(node);
            }
        }
        for node in &mut packed {
            node.parent = moved[node.parent as usize];
            node.plus = moved[node.plus as usize];
        }
        self.nodes = packed;
        self.free = NONE;
        let Self { nodes, edges, seed, .. } = self;
        *edges = Table::with_capacity(nodes.len());
        for id in 1..nodes.len() as u32 {
            if !matches!(nodes[id as usize].name, Name::Plus) {
                edges.insert_unique(hash_of(seed, nodes, id), id, |&id| hash_of(seed, nodes, id));
            }
        }
    }

    fn node(&self, id: u32) -> &Node {
        // Ids come from this trie alone, never from a peer.
        &self.nodes[id as usize]
    }

    fn node_mut(&mut self, id: u32) -> &mut Node {
        &mut self.nodes[id as usize]
    }
}

fn hash_of(seed: &Seed, nodes: &[Node], id: u32) -> u64 {
    let node = &nodes[id as usize];
    edge_hash(seed, node.parent, node.name.bytes())
}
