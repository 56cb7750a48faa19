//! The list of what is measured. Knows nothing of sockets.

/// One kind of load; its name in the table follows from its parts.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) request: Request,
    /// Requests in one write; with reply, all are answered before the next write.
    pub(crate) per_write: usize,
    pub(crate) connections: usize,
    pub(crate) keys: u32,
    pub(crate) spread: Spread,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Incr,
    IncrNoreply,
    Get,
}

/// How often one key is drawn beside another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    Uniform,
    /// The key of rank r with weight r^-0.99, the exponent of the YCSB benchmarks.
    Zipf,
}

const HOT: u32 = 1;
const SOME: u32 = 10_000;
const MANY: u32 = 1_000_000;

const ALL: &[Workload] = &[
    incr(1, HOT),
    incr(1, SOME),
    Workload { connections: 50, ..incr(1, SOME) },
    incr(50, HOT),
    incr(50, SOME),
    Workload { connections: 4, ..incr(50, SOME) },
    incr(50, MANY),
    Workload { spread: Spread::Zipf, ..incr(50, MANY) },
    noreply(1, SOME),
    noreply(500, HOT),
    noreply(500, SOME),
    noreply(500, MANY),
    Workload { spread: Spread::Zipf, ..noreply(500, MANY) },
    Workload { request: Request::Get, ..incr(1, SOME) },
];

/// Every workload in the order of the table. A quick run has a tenth of the largest tables, since
/// most of its time would go into filling them.
pub(crate) fn all(quick: bool) -> impl Iterator<Item = Workload> {
    let keys_max = if quick { MANY / 10 } else { MANY };
    ALL.iter().map(move |load| Workload { keys: load.keys.min(keys_max), ..*load })
}

const fn incr(per_write: usize, keys: u32) -> Workload {
    Workload { request: Request::Incr, per_write, connections: 1, keys, spread: Spread::Uniform }
}

const fn noreply(per_write: usize, keys: u32) -> Workload {
    Workload { request: Request::IncrNoreply, ..incr(per_write, keys) }
}

impl Workload {
    /// For filling a table alone.
    pub(crate) const fn known(keys: u32) -> Self {
        incr(1, keys)
    }

    pub(crate) fn name(&self) -> String {
        let how = match (self.request, self.connections) {
            (Request::Get, _) => format!("get of {}", self.request.keys()),
            (Request::Incr, 1) => format!("incr x{}", self.per_write),
            (Request::Incr, connections) if self.per_write == 1 => format!("incr c{connections}"),
            (Request::Incr, connections) => format!("incr x{} c{connections}", self.per_write),
            (Request::IncrNoreply, _) => format!("noreply x{}", self.per_write),
        };
        let keys = match self.keys {
            1 => "1 key".to_owned(),
            keys if keys < 1_000_000 => format!("{}k keys", keys / 1000),
            keys => format!("{}M keys", keys / 1_000_000),
        };
        match self.spread {
            Spread::Uniform => format!("{how}, {keys}"),
            Spread::Zipf => format!("{how}, {}", keys.replace("keys", "zipf")),
        }
    }
}

impl Request {
    /// Keys that one request names.
    pub(crate) fn keys(self) -> usize {
        match self {
            Self::Get => 100,
            Self::Incr | Self::IncrNoreply => 1,
        }
    }
}
