//! The whole system in virtual time.

mod efficiency;
mod faithful;
mod forgers;
mod rivals;
mod scale;
mod stragglers;
mod transfer;

fn main_seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the replay command names the seed")]
    std::env::var("FANFARE_SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed)
}
