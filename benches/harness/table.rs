//! The table: medians, and how far the rounds lie apart.

/// Prints a line for each case as soon as its rounds are done.
pub(super) struct Table {
    /// Of the case that runs: Redpoll and the floor in each round.
    rounds: Vec<(f64, f64)>,
}

impl Table {
    pub(super) fn new(rounds: usize) -> Table {
        println!("server CPU, µs a message; {rounds} rounds, Redpoll and the floor in turn; median (least to most)");
        println!("{:<36} {:>9} {:>9}   ratio", "", "Redpoll", "floor");
        Table { rounds: Vec::new() }
    }

    pub(super) fn add(&mut self, redpoll: f64, floor: f64) {
        self.rounds.push((redpoll, floor));
    }

    pub(super) fn end_case(&mut self, name: &str) {
        let rounds = std::mem::take(&mut self.rounds);
        let of = |what: fn(&(f64, f64)) -> f64| Spread::of(rounds.iter().map(what).collect());
        let (redpoll, floor, ratio) = (of(|round| round.0), of(|round| round.1), of(|round| round.0 / round.1));
        println!(
            "{name:<36} {:>9.3} {:>9.3}   {:.2} ({:.2} to {:.2})",
            redpoll.median, floor.median, ratio.median, ratio.least, ratio.most
        );
    }
}

/// A few measurements of the same.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let (middle, last) = (values.len() / 2, values.len() - 1);
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Spread { least: values[0], median, most: values[last] }
    }
}
