//! Draws curves as SVG, one chart below the other.

use std::fmt::Write;

use crate::cli::figures::decimal;

/// One chart.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) curves: Vec<Curve>,
}

/// What is drawn along one side.
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
}

/// Where a value is on its axis.
pub(super) enum Scale {
    /// From 0 to at least this.
    Linear { most: f64 },
    /// From one power of ten to another.
    Logarithmic { least: f64, most: f64 },
    /// Parts of all, from 0 to below 1, so that each further nine gets the same room.
    Nines { count: u32 },
}

/// A line through points, in the units of the axes.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A whole file.
pub(super) fn draw(charts: &[Chart]) -> String {
    let (width, height) = (decimal(WIDTH, 0), decimal(HEIGHT * charts.len() as f64, 0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, chart) in charts.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", place(HEIGHT * index as f64));
        chart.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

impl Chart {
    // Writing to a string does not fail.
    fn draw(&self, svg: &mut String) {
        text(svg, (WIDTH / 2.0, 22.0), "text-anchor=\"middle\" font-size=\"14\"", &self.title);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in self.x.scale.marks() {
            let x = self.across(value);
            line(svg, (x, TOP), (x, bottom));
            text(svg, (x, bottom + 16.0), "text-anchor=\"middle\"", &label);
        }
        for (value, label) in self.y.scale.marks() {
            let y = self.down(value);
            line(svg, (LEFT, y), (right, y));
            text(svg, (LEFT - 6.0, y + 4.0), "text-anchor=\"end\"", &label);
        }
        text(svg, ((LEFT + right) / 2.0, bottom + 34.0), "text-anchor=\"middle\"", self.x.label);
        text(svg, (LEFT, TOP - 8.0), "text-anchor=\"middle\"", self.y.label);
        for (index, (curve, colour)) in self.curves.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let points: Vec<String> = curve
                .points
                .iter()
                .map(|(x, y)| format!("{},{}", place(self.across(*x)), place(self.down(*y))))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                points.join(" ")
            );
            let style = format!("text-anchor=\"end\" fill=\"{colour}\"");
            text(svg, (right - 180.0 * index as f64, TOP - 8.0), &style, &curve.name);
        }
    }

    fn across(&self, value: f64) -> f64 {
        LEFT + self.x.scale.part(value) * (WIDTH - LEFT - RIGHT)
    }

    fn down(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.part(value) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Scale {
    /// A scale for values up to `most`.
    pub(super) fn linear(most: f64) -> Scale {
        Scale::Linear { most: if most > 0.0 { most } else { 1.0 } }
    }

    /// A scale for values between these, which ends at powers of ten.
    pub(super) fn logarithmic(least: f64, most: f64) -> Scale {
        let least = 10_f64.powf(least.max(1.0).log10().floor());
        Scale::Logarithmic { least, most: 10_f64.powf(most.max(1.0).log10().ceil()).max(least * 10.0) }
    }

    /// How far along the axis, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let part = match self {
            Scale::Linear { .. } => value / self.end(),
            Scale::Logarithmic { least, most } => (value.max(*least) / least).log10() / (most / least).log10(),
            Scale::Nines { count } => nines(value) / f64::from(*count),
        };
        part.clamp(0.0, 1.0)
    }

    fn end(&self) -> f64 {
        match self {
            Scale::Linear { most } => (most / step(*most)).ceil() * step(*most),
            Scale::Logarithmic { most, .. } => *most,
            Scale::Nines { count } => 1.0 - 0.1_f64.powi(*count as i32),
        }
    }

    /// Values with their names.
    fn marks(&self) -> Vec<(f64, String)> {
        match self {
            Scale::Linear { most } => {
                let (step, end) = (step(*most), self.end());
                let count = (end / step).round() as u32;
                (0..=count).map(|index| f64::from(index) * step).map(|value| (value, short(value))).collect()
            }
            Scale::Logarithmic { least, most } => {
                let count = (most / least).log10().round() as i32;
                (0..=count).map(|power| least * 10_f64.powi(power)).map(|value| (value, short(value))).collect()
            }
            Scale::Nines { count } => {
                let names = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999"];
                let value = |nines: i32| 1.0 - 0.1_f64.powi(nines);
                let marks = (0..=*count as i32).zip(names);
                marks.map(|(nines, name)| (value(nines), format!("{name} %"))).collect()
            }
        }
    }
}

/// How many nines a part begins with: 0.9 has one, 0.999 has three.
pub(super) fn nines(part: f64) -> f64 {
    -(1.0 - part).max(f64::MIN_POSITIVE).log10()
}

/// 1, 2 or 5 times a power of ten, so that there are at most 8 of them.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf(most.log10().floor());
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0].map(|part| part * power);
    steps.into_iter().find(|step| most / step <= 8.0).unwrap_or(5.0 * power)
}

/// `1500` as `1.5k`.
fn short(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, name) = units.into_iter().find(|(unit, _)| value >= *unit).unwrap_or((1.0, ""));
    let digits = decimal(value / unit, 2);
    format!("{}{name}", digits.trim_end_matches('0').trim_end_matches('.'))
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" {attributes}>{text}</text>", place(x), place(y));
}

/// A coordinate; a tenth of a pixel is fine enough.
fn place(at: f64) -> String {
    decimal(at, 1)
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(place);
    let _ = writeln!(svg, "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"#ddd\"/>");
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;

/// That also those can tell apart who do not see all colours.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers_that_reach_to_the_end() {
        let names = |scale: Scale| scale.marks().into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names(Scale::linear(19_000.0)), ["0", "5k", "10k", "15k", "20k"]);
        assert_eq!(names(Scale::linear(0.0)).last().map(String::as_str), Some("1"));
        assert_eq!(names(Scale::logarithmic(30.0, 2_000.0)), ["10", "100", "1k", "10k"]);
        assert_eq!(names(Scale::Nines { count: 3 }), ["0 %", "90 %", "99 %", "99.9 %"]);
        for most in [0.003, 0.7, 1.0, 1.1, 9.0, 10.0, 123_456.0] {
            let scale = Scale::linear(most);
            assert!((2..=9).contains(&scale.marks().len()) && scale.end() >= most, "{most}");
        }
    }

    #[test]
    fn a_value_has_its_place() {
        assert_eq!(Scale::linear(20.0).part(10.0), 0.5);
        assert!((Scale::logarithmic(1.0, 100.0).part(10.0) - 0.5).abs() < 1e-9);
        assert!((Scale::Nines { count: 4 }.part(0.99) - 0.5).abs() < 1e-9);
        assert_eq!(Scale::Nines { count: 4 }.part(1.0), 1.0);
    }

    #[test]
    fn names_are_escaped() {
        let axis = || Axis { label: "a", scale: Scale::linear(1.0) };
        let curves = vec![Curve { name: "<&".to_owned(), points: vec![(0.0, 1.0)] }];
        let svg = draw(&[Chart { title: "t".to_owned(), x: axis(), y: axis(), curves }]);
        assert!(svg.contains("&lt;&amp;") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
