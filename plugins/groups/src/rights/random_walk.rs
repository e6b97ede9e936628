//! Random walks: whatever people try in whatever order, no right comes from somebody who did not have it.

use super::policy::LISTED;
use super::*;

/// SplitMix64, so that each run is the same.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).unwrap()
    }

    /// Draws few permissions, or many.
    pub(crate) fn permissions(&mut self) -> Permissions {
        let dense = self.below(2) == 0;
        let inside = Permission::ALL.iter().filter(|_| (self.below(4) == 0) != dense);
        Permissions::of(&inside.copied().collect::<Vec<_>>())
    }
}

/// A group and the terms of its members; the first is the owner.
#[derive(Clone)]
struct World {
    charter: Charter,
    terms: Vec<Terms>,
}

impl World {
    fn new(members: usize) -> Self {
        let mut terms = vec![Terms::default(); members];
        terms[0] = Terms::of(RoleId::OWNER);
        Self {
            charter: Charter::group("0"),
            terms,
        }
    }

    fn standings(&self) -> Vec<Standing> {
        self.terms.iter().map(|terms| self.charter.standing(terms)).collect()
    }

    fn some_role(&self, dice: &mut Dice) -> RoleId {
        RoleId(u32::try_from(dice.below(self.charter.next_role as usize + 1)).unwrap())
    }

    /// Lets someone try something.
    fn step(&mut self, doer: usize, dice: &mut Dice) -> Result<(), Refusal> {
        let standing = self.charter.standing(&self.terms[doer]);
        let target = dice.below(self.terms.len());
        let rank = u16::try_from(dice.below(1_010)).unwrap();
        match dice.below(6) {
            0 | 1 => {
                let role = self.some_role(dice);
                self.terms[target] = self.charter.assign(&standing, &self.terms[target], role)?;
            }
            2 => {
                let (allow, deny) = (dice.permissions(), dice.permissions());
                let old = self.terms[target];
                self.terms[target] = self.charter.override_with(&standing, &old, allow, deny)?;
            }
            3 => {
                let role = ("R".to_owned(), rank, dice.permissions());
                self.charter.add_role(&standing, role, 12)?;
            }
            4 => {
                let change = RoleChange {
                    title: None,
                    rank: Some(rank).filter(|_| dice.below(2) == 0),
                    permissions: Some(dice.permissions()).filter(|_| dice.below(2) == 0),
                };
                let role = self.some_role(dice);
                self.charter.change_role(&standing, role, change)?;
            }
            _ => {
                let role = self.some_role(dice);
                self.charter.remove_role(&standing, role)?;
            }
        }
        Ok(())
    }
}

#[test]
fn no_sequence_of_acts_yields_a_right_that_nobody_granted() {
    let (mut done, mut refused) = (0, 0);
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let mut world = World::new(7);
        for _ in 0..400 {
            let doer = dice.below(world.terms.len());
            let before = world.clone();
            let outcome = world.step(doer, &mut dice);
            let (was, is) = (before.standings(), world.standings());
            if outcome.is_err() {
                refused += 1;
                assert_eq!(
                    (was, before.charter),
                    (is, world.charter.clone()),
                    "a refusal changes nothing"
                );
                continue;
            }
            done += 1;
            let by = was[doer];
            assert!(by.rights.has(Permission::ManageRoles), "seed {seed}");
            for (actor, (was, is)) in was.iter().zip(&is).enumerate() {
                let gained = is.rights.without(was.rights);
                assert!(
                    gained.is_within(by.rights),
                    "seed {seed}: {doer} gave {gained:?} to {actor}"
                );
                if was != is {
                    assert!(
                        by.rank > was.rank,
                        "seed {seed}: {doer} changed {actor}, who is not below"
                    );
                    assert!(
                        by.rank > is.rank,
                        "seed {seed}: {doer} raised {actor} to their own rank"
                    );
                }
            }
            assert_eq!(is[0], was[0], "nobody changes the owner");
        }
    }
    assert!(done > 3_000 && refused > 3_000, "{done} done, {refused} refused");
}

#[test]
fn a_charter_never_says_what_is_not_so() {
    let mut dice = Dice(7);
    let mut charter = Charter::group("owner");
    let names: Vec<String> = (0..LISTED * 2).map(|number| format!("u{number}")).collect();
    let mut truth = vec![Terms::default(); names.len()];
    let (mut known, mut elsewhere) = (0, 0);
    for _ in 0..20_000 {
        let one = dice.below(names.len());
        let new = match dice.below(3) {
            0 => Terms::of(RoleId::ADMIN),
            1 => Terms {
                deny: dice.permissions(),
                ..Terms::default()
            },
            _ => Terms::default(),
        };
        charter.note(&names[one], &truth[one], &new);
        truth[one] = new;
        let asked = dice.below(names.len());
        match charter.known(&names[asked]) {
            Known::Terms(terms) => {
                known += 1;
                assert_eq!(terms, truth[asked], "{}", names[asked]);
            }
            Known::Elsewhere => elsewhere += 1,
        }
        assert_eq!(charter.known("owner"), Known::Terms(Terms::of(RoleId::OWNER)));
    }
    assert!(known > 1_000 && elsewhere > 100, "{known} known, {elsewhere} elsewhere");
    for (name, terms) in names.iter().zip(&mut truth) {
        charter.note(name, terms, &Terms::default());
    }
    assert_eq!(
        charter,
        Charter::group("owner"),
        "nothing is left of those who are ordinary again"
    );
}
