//! Leader clustering: of copies, and then of their groups.

use super::Scored;
use super::copies::Copies;
use super::graph::Link;
use super::split::{ASKED, Run};
use crate::Result;
use crate::dedup::edge::Label;

fn is_copy(scored: Scored) -> bool {
    scored.label <= Label::Copy
}

impl Run<'_> {
    /// Groups of copies, by leader clustering of the edges of copies.
    pub(super) fn copies(&mut self) -> Result<Copies> {
        let mut copies = Copies::new(self.order.len());
        self.each_unit(|run, unit, links| {
            if run.order.is_old(unit) {
                return Ok(());
            }
            let is_first = |rank: u32| copies.first(rank) == rank;
            let linked = || links.iter().filter(|link| is_copy(link.scored));
            if let Some(link) = linked().find(|link| is_first(link.earlier)) {
                copies.join(unit, link.earlier, link.scored);
                return Ok(());
            }
            // The pair may have an edge, and not have been looked at.
            let firsts = unlinked(linked().map(|link| copies.first(link.earlier)), &[]);
            if let Some((first, scored)) = run.first_within(unit, &firsts, Some(is_copy))? {
                copies.join(unit, first, scored);
            }
            Ok(())
        })?;
        Ok(copies)
    }

    /// Joins units with leaders: groups of copies with the first unit of their component, or else
    /// with another leader, or else with the first of the group.
    pub(super) fn join_leaders(&mut self) -> Result<Copies> {
        let copies = self.copies()?;
        let leads_old = |run: &Self, unit: u32| run.order.is_old(copies.first(unit));
        self.ask_first(false, |run, unit| {
            copies.first(unit) != run.graph.component[unit as usize] && !leads_old(run, unit)
        })?;
        let units: Vec<u32> =
            (0..self.order.len() as u32).filter(|&rank| self.is_unit(rank)).collect();
        let mut fits = vec![true; self.order.len()];
        for &unit in &units {
            let (first, leader) = (copies.first(unit), self.graph.component[unit as usize]);
            let is_near = self.reaches(self.split.similarity[unit as usize]);
            fits[first as usize] &= first == leader || is_near && !leads_old(self, unit);
        }
        for &unit in &units {
            let (first, leader) = (copies.first(unit), self.graph.component[unit as usize]);
            match copies.of(unit) {
                _ if first != leader && fits[first as usize] => {
                    self.split.leader[unit as usize] = leader;
                }
                Some((first, scored)) => self.split.join(unit, first, scored),
                None => self.split.forget(unit),
            }
        }
        self.join_others(&copies, &fits)?;
        Ok(copies)
    }

    /// Leader clustering of the groups that do not fit to the first unit of their component.
    fn join_others(&mut self, copies: &Copies, fits: &[bool]) -> Result<()> {
        self.each_unit(|run, unit, links| {
            let is_first = copies.first(unit) == unit;
            if !is_first || fits[unit as usize] || run.order.is_old(unit) {
                return Ok(());
            }
            let component = run.graph.component[unit as usize];
            let leads = |link: &&Link| run.split.leads(link.earlier) && link.earlier != component;
            let near = links.iter().find(leads).map(|link| (link.earlier, link.scored));
            let near = match near {
                Some(near) => Some(near),
                None => {
                    let leader = |link: &Link| run.split.leader[link.earlier as usize];
                    let leaders = links.iter().map(leader).filter(|&leader| leader != component);
                    let leaders = unlinked(leaders, links);
                    run.first_within(unit, &leaders, None)?
                }
            };
            let Some((leader, scored)) = near else { return Ok(()) };
            let others: Vec<u32> = copies.others(unit).collect();
            if let Some(found) = run.all_near(leader, &others)? {
                run.split.join(unit, leader, scored);
                for (&other, scored) in others.iter().zip(found) {
                    run.split.join(other, leader, scored);
                }
            }
            Ok(())
        })
    }

    /// The first of `leaders` of which a unit is within the threshold, and which `is_right` by what
    /// their pictures show.
    fn first_within(
        &mut self,
        unit: u32,
        leaders: &[u32],
        is_right: Option<fn(Scored) -> bool>,
    ) -> Result<Option<(u32, Scored)>> {
        let is_near = |run: &Self, scored: Scored| {
            run.reaches(scored.score) && is_right.is_none_or(|is_right| is_right(scored))
        };
        for leaders in leaders.chunks(ASKED) {
            let pairs: Vec<(u32, u32)> = leaders.iter().map(|&leader| (leader, unit)).collect();
            let found = self.ask(&pairs, is_right.is_some())?;
            for (&leader, scored) in leaders.iter().zip(found) {
                if let Some(scored) = scored.filter(|&scored| is_near(self, scored)) {
                    return Ok(Some((leader, scored)));
                }
            }
        }
        Ok(None)
    }

    /// What is known of a leader and each of `units`, if each is within the threshold.
    fn all_near(&mut self, leader: u32, units: &[u32]) -> Result<Option<Vec<Scored>>> {
        let mut all = Vec::with_capacity(units.len());
        for units in units.chunks(ASKED) {
            let pairs: Vec<(u32, u32)> = units.iter().map(|&unit| (leader, unit)).collect();
            for scored in self.ask(&pairs, false)? {
                match scored.filter(|scored| self.reaches(scored.score)) {
                    Some(scored) => all.push(scored),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(all))
    }
}

/// Ranks, each once and ascending, without those that are the earlier one of a link.
fn unlinked(ranks: impl Iterator<Item = u32>, links: &[Link]) -> Vec<u32> {
    let is_linked = |rank: &u32| links.binary_search_by_key(rank, |link| link.earlier).is_ok();
    let mut ranks: Vec<u32> = ranks.filter(|rank| !is_linked(rank)).collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}
