//! Random walks: no sequence of changes grants a right that the granting member didn't have.

use super::policy::LISTED;
use super::*;

/// A SplitMix64 generator, so that every run is the same.
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

    /// Returns a random set with few permissions or many.
    pub(crate) fn permissions(&mut self) -> Permissions {
        let dense = self.below(2) == 0;
        let inside = Permission::ALL.iter().filter(|_| (self.below(4) == 0) != dense);
        Permissions::of(&inside.copied().collect::<Vec<_>>())
    }
}

/// A group and the policies of its members; the first one is the owner.
#[derive(Clone)]
struct World {
    policy: GroupPolicy,
    members: Vec<MemberPolicy>,
}

impl World {
    fn new(size: usize) -> Self {
        let mut members = vec![MemberPolicy::default(); size];
        members[0] = MemberPolicy::of(RoleId::OWNER);
        Self {
            policy: GroupPolicy::group("0"),
            members,
        }
    }

    fn standings(&self) -> Vec<Standing> {
        self.members.iter().map(|member| self.policy.standing(member)).collect()
    }

    fn some_role(&self, dice: &mut Dice) -> RoleId {
        RoleId(u32::try_from(dice.below(self.policy.next_role as usize + 1)).unwrap())
    }

    /// Tries a random change by a member.
    fn step(&mut self, doer: usize, dice: &mut Dice) -> Result<(), Refusal> {
        let standing = self.policy.standing(&self.members[doer]);
        let target = dice.below(self.members.len());
        let rank = u16::try_from(dice.below(1_010)).unwrap();
        match dice.below(6) {
            0 | 1 => {
                let role = self.some_role(dice);
                self.members[target] = self.policy.assign_role(&standing, &self.members[target], role)?;
            }
            2 => {
                let (allow, deny) = (dice.permissions(), dice.permissions());
                let old = self.members[target];
                self.members[target] = self.policy.set_overrides(&standing, &old, allow, deny)?;
            }
            3 => {
                let role = ("R".to_owned(), rank, dice.permissions());
                self.policy.add_role(&standing, role, 12)?;
            }
            4 => {
                let change = RoleChange {
                    title: None,
                    rank: Some(rank).filter(|_| dice.below(2) == 0),
                    permissions: Some(dice.permissions()).filter(|_| dice.below(2) == 0),
                };
                let role = self.some_role(dice);
                self.policy.change_role(&standing, role, change)?;
            }
            _ => {
                let role = self.some_role(dice);
                self.policy.remove_role(&standing, role)?;
            }
        }
        Ok(())
    }
}

#[test]
fn no_sequence_of_changes_yields_a_right_that_nobody_granted() {
    let (mut done, mut refused) = (0, 0);
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let mut world = World::new(7);
        for _ in 0..400 {
            let doer = dice.below(world.members.len());
            let before = world.clone();
            let outcome = world.step(doer, &mut dice);
            let (was, is) = (before.standings(), world.standings());
            if outcome.is_err() {
                refused += 1;
                assert_eq!(
                    (was, before.policy),
                    (is, world.policy.clone()),
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
fn a_lookup_never_returns_a_wrong_policy() {
    let mut dice = Dice(7);
    let mut policy = GroupPolicy::group("owner");
    let names: Vec<String> = (0..LISTED * 2).map(|number| format!("u{number}")).collect();
    let mut truth = vec![MemberPolicy::default(); names.len()];
    let (mut known, mut elsewhere) = (0, 0);
    for _ in 0..20_000 {
        let one = dice.below(names.len());
        let new = match dice.below(3) {
            0 => MemberPolicy::of(RoleId::ADMIN),
            1 => MemberPolicy {
                deny: dice.permissions(),
                ..MemberPolicy::default()
            },
            _ => MemberPolicy::default(),
        };
        policy.record_change(&names[one], &truth[one], &new);
        truth[one] = new;
        let looked_up = dice.below(names.len());
        match policy.lookup(&names[looked_up]) {
            PolicyLookup::Found(found) => {
                known += 1;
                assert_eq!(found, truth[looked_up], "{}", names[looked_up]);
            }
            PolicyLookup::InMemberRow => elsewhere += 1,
        }
        assert_eq!(
            policy.lookup("owner"),
            PolicyLookup::Found(MemberPolicy::of(RoleId::OWNER))
        );
    }
    assert!(known > 1_000 && elsewhere > 100, "{known} known, {elsewhere} elsewhere");
    for (name, old) in names.iter().zip(&mut truth) {
        policy.record_change(name, old, &MemberPolicy::default());
    }
    assert_eq!(
        policy,
        GroupPolicy::group("owner"),
        "members with the default policy are still listed"
    );
}
