//! The Wasm engine of the transaction lane and the clock that ends calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The grain of deadlines.
const TICK: Duration = Duration::from_millis(4);

/// What all plugins together may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Instances of all plugins.
    pub instances: u32,
    /// Linear memory of one instance, the greatest of all plugins.
    pub memory_bytes: usize,
    /// Elements of one table.
    pub table_elements: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            instances: 256,
            memory_bytes: 64 << 20,
            table_elements: 20_000,
        }
    }
}

/// The engine. Its clock runs as long as it lives.
#[derive(Clone, Debug)]
pub struct WasmEngine {
    engine: Engine,
    ticks: Arc<AtomicU64>,
    memory_bytes: usize,
}

impl WasmEngine {
    /// Sets up the engine.
    ///
    /// # Errors
    /// When the operating system does not give the address space, or the clock's thread can't start.
    pub fn new(limits: &EngineLimits) -> Result<Self, wasmtime::Error> {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(limits.instances)
            .total_core_instances(limits.instances.saturating_mul(4))
            .total_memories(limits.instances.saturating_mul(2))
            .total_tables(limits.instances.saturating_mul(2))
            .max_memory_size(limits.memory_bytes)
            .table_elements(limits.table_elements)
            .max_core_instances_per_component(16)
            // Other toolchains link an engine, its library and the plugin, each with a memory.
            .max_memories_per_component(4)
            .max_tables_per_component(8)
            .linear_memory_keep_resident(64 << 10)
            .table_keep_resident(4 << 10)
            // Where the kernel can tell which pages were written (Linux 6.7), only those are reset.
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            // Sync calls cost a third of what they cost with support for concurrent ones.
            .concurrency_support(false)
            .epoch_interruption(true)
            // Nobody is shown them, and collecting one takes as long as replacing the instance.
            .wasm_backtrace_max_frames(None)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let ticks = Arc::new(AtomicU64::new(0));
        let (weak, counter) = (engine.weak(), ticks.clone());
        std::thread::Builder::new()
            .name("wasm-clock".to_owned())
            .spawn(move || {
                loop {
                    std::thread::sleep(TICK);
                    let Some(engine) = weak.upgrade() else { break };
                    counter.fetch_add(1, Ordering::Relaxed);
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            engine,
            ticks,
            memory_bytes: limits.memory_bytes,
        })
    }

    /// Returns wasmtime's engine.
    #[must_use]
    pub fn get(&self) -> &Engine {
        &self.engine
    }

    /// Returns how much memory an instance can have at most.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Returns how often the clock has ticked.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Returns how many ticks a deadline is; at least one whole tick passes.
    pub(super) fn ticks_in(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis().div_ceil(TICK.as_millis()))
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}
