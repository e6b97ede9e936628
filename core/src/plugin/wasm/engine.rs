//! The Wasm engine, and the clock that interrupts calls at their deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Resolution of deadlines.
const TICK: Duration = Duration::from_millis(4);

/// Number of elements of one table.
pub(super) const TABLE_ELEMENTS: usize = 20_000;

/// Limits of all plugins together, per engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Number of instances of all plugins.
    pub instances: u32,
    /// Linear memory of one instance, in bytes: the largest limit of all plugins.
    pub memory_bytes: usize,
    /// Number of elements of one table.
    pub table_elements: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            instances: 256,
            memory_bytes: 64 << 20,
            table_elements: TABLE_ELEMENTS,
        }
    }
}

/// A wasmtime engine with its clock, which runs until the engine is dropped.
#[derive(Clone, Debug)]
pub struct WasmEngine {
    engine: Engine,
    ticks: Arc<AtomicU64>,
    memory_bytes: usize,
}

impl WasmEngine {
    /// Creates an engine and starts its clock.
    ///
    /// # Errors
    /// If the operating system refuses the address space, or the thread of the clock can't start.
    pub fn new(limits: &EngineLimits) -> Result<Self, wasmtime::Error> {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(limits.instances)
            .total_core_instances(limits.instances.saturating_mul(4))
            .total_memories(limits.instances.saturating_mul(2))
            .total_tables(limits.instances.saturating_mul(2))
            .max_memory_size(limits.memory_bytes)
            .table_elements(limits.table_elements)
            .max_core_instances_per_component(16)
            // Components of other toolchains contain an interpreter, its library and the plugin, each with a memory.
            .max_memories_per_component(4)
            .max_tables_per_component(8)
            .linear_memory_keep_resident(64 << 10)
            .table_keep_resident(4 << 10)
            // Resets only the written pages, where the kernel can list them (Linux 6.7).
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            // Synchronous calls take a third of the time that they take with support for concurrent ones.
            .concurrency_support(false)
            .epoch_interruption(true)
            // No backtrace is shown, and collecting one takes as long as replacing the instance.
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

    /// Returns the largest possible memory of an instance, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Returns the number of ticks of the clock so far.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Returns the number of ticks of a deadline. One is added, so that at least one whole tick passes.
    pub(super) fn ticks_in(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis().div_ceil(TICK.as_millis()))
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}
