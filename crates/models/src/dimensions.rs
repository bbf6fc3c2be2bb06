//! The labels of dimensions, and the letters that documentation uses for their sizes.
//!
//! | letter | label | ranges over |
//! |---|---|---|
//! | `T` | Token | tokens of a step, of any sequences |
//! | `S` | Sequence | rows of the block table |
//! | `M` | Page | entries of a block table's row |
//! | `B` | Block | blocks of the cache |
//! | `L` | Slot | tokens of a block |
//! | `N` | StateSlot | slots of per-sequence state |
//! | `C` | Context | all slots that the block tables name: `S · M · L` |
//! | `R` | Row | tokens whose logits are asked for |
//! | `D` | Model | the residual stream |
//! | `K` | KvHead | key/value heads |
//! | `G` | Group | query heads of one key/value head |
//! | `H` | HeadDim | elements of a query or key head |
//! | `E` | ValueDim | elements of a value head |
//! | `Q` | Query | all query heads' elements: `K · G · H` |
//! | `F` | Feature | the feed-forward network's inner features |
//! | `V` | Vocabulary | token ids |
//! | `W` | Tap | inputs that a convolution sees |
//! | `X` | Expert | experts of a network |
//! | `N` | Choice | experts that compute a token |
//! | `O`, `I` | | rows and columns of any weight |
//!
//! A packed weight has the dimensions Tile, Word and Lane of `stablemate-encodings`' layout.

use stablemate_graph::Label;

/// `T`: tokens of a step.
pub const TOKEN: Label = Label("Token");
/// `S`: rows of the block table.
pub const SEQUENCE: Label = Label("Sequence");
/// `M`: entries of a block table's row.
pub const PAGE: Label = Label("Page");
/// `B`: blocks of the cache.
pub const BLOCK: Label = Label("Block");
/// `L`: tokens of a block.
pub const SLOT: Label = Label("Slot");
/// `N`: slots of per-sequence state, the reserved slot 0 among them.
pub const STATE_SLOT: Label = Label("StateSlot");
/// `C`: all slots that the block tables name.
pub const CONTEXT: Label = Label("Context");
/// `R`: tokens whose logits are asked for.
pub const ROW: Label = Label("Row");
/// `D`: the residual stream.
pub const MODEL: Label = Label("Model");
/// `K`: key/value heads.
pub const KV_HEAD: Label = Label("KvHead");
/// `G`: query heads of one key/value head.
pub const GROUP: Label = Label("Group");
/// `H`: elements of a query or key head.
pub const HEAD_DIM: Label = Label("HeadDim");
/// `E`: elements of a value head.
pub const VALUE_DIM: Label = Label("ValueDim");
/// `Q`: all query heads' elements.
pub const QUERY: Label = Label("Query");
/// All key heads' elements: `K · H`.
pub const KEY: Label = Label("Key");
/// All value heads' elements: `K · E`.
pub const VALUE: Label = Label("Value");
/// All attention outputs: `K · G · E`.
pub const MIXED: Label = Label("Mixed");
/// `F`: inner features of a feed-forward network.
pub const FEATURE: Label = Label("Feature");
/// `V`: token ids.
pub const VOCABULARY: Label = Label("Vocabulary");
/// `X`: experts of a network.
pub const EXPERT: Label = Label("Expert");
/// `N`: experts that compute a token.
pub const CHOICE: Label = Label("Choice");
/// All query heads: `K · G`.
pub const HEAD: Label = Label("Head");
/// Sixteen rows of a packed weight.
pub const TILE: Label = Label("Tile");
/// 32-bit words of a packed row.
pub const WORD: Label = Label("Word");
/// Rows of a tile.
pub const LANE: Label = Label("Lane");
/// Components of an index into a tensor's leading dimensions.
pub const INDEX: Label = Label("Index");
/// `W`: inputs that a convolution sees.
pub const TAP: Label = Label("Tap");
/// `W − 1`: inputs that a convolution keeps for the next step.
pub const TAIL: Label = Label("Tail");
/// `C`: channels of a convolution.
pub const CHANNEL: Label = Label("Channel");
/// Layers, of values that each layer has a part of.
pub const LAYER: Label = Label("Layer");
/// Elements of a layer's part.
pub const PART: Label = Label("Part");
/// The only element of a stored scalar.
pub const UNIT: Label = Label("Unit");
/// Groups of neighbouring experts.
pub const EXPERT_GROUP: Label = Label("ExpertGroup");
/// Elements of a latent, of which keys and values are made.
pub const LATENT: Label = Label("Latent");
/// `Z`: elements of a state space.
pub const STATE: Label = Label("State");
