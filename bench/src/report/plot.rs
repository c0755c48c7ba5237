//! Plots as inline SVG. Colours are classes, so that the page decides them for light and dark; sizes suit a phone's width.

use core::fmt::Write as _;

use super::number;
use super::table::escape;
use crate::compare::Estimate;
use crate::outcome::Distribution;

/// Width of every plot in its own units; text of 12 units is then readable on a phone.
const WIDTH: f64 = 420.0;
/// Room for a plot with axes.
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 46.0;
/// A character of a label is at most so wide.
const CHARACTER: f64 = 7.5;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
/// From one line of words to the next.
const ROW: f64 = 13.0;
/// Series have so many colours.
const COLOURS: usize = 6;

/// A bar with its interval.
pub(super) struct Bar {
    /// What it is.
    pub(super) label: String,
    /// Which colour.
    pub(super) series: usize,
    /// How long; none: no result.
    pub(super) value: Option<Estimate>,
}

/// A line.
pub(super) struct Line {
    /// Which colour.
    pub(super) series: usize,
    /// In axis units, from left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// Something that happened at a time.
pub(super) struct Mark {
    /// When, in axis units.
    pub(super) at: f64,
    /// What, in one short word.
    pub(super) label: &'static str,
}

/// Groups of bars under headings, all on one scale from zero.
pub(super) fn bars(groups: &[(String, Vec<Bar>)], unit: &str) -> String {
    const BAR: f64 = 18.0;
    const HEADING: f64 = 20.0;
    const FIGURE: f64 = 74.0;
    let all = groups.iter().flat_map(|(_, bars)| bars);
    let most = all
        .filter_map(|bar| bar.value)
        .map(|value| value.high.max(value.value))
        .fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (WIDTH - FIGURE - 4.0) / most
    } else {
        0.0
    };
    let mut body = String::new();
    let mut y = 0.0;
    for (heading, bars) in groups {
        y += HEADING;
        text(&mut body, 0.0, y - 5.0, "start", heading);
        for bar in bars {
            let middle = y + BAR / 2.0 - 1.0;
            let colour = bar.series % COLOURS;
            let figure = match bar.value {
                Some(Estimate { value, low, high }) => {
                    let _ = write!(
                        body,
                        "<rect class=\"s{colour}\" x=\"0\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"><title>{}: {} {unit} [{}–{}]</title></rect>",
                        y,
                        (value * scale).max(1.0),
                        BAR - 4.0,
                        escape(&bar.label),
                        number::plain(value),
                        number::plain(low),
                        number::plain(high),
                    );
                    let (from, to) = (low * scale, high * scale);
                    let _ = write!(
                        body,
                        "<path class=\"whisker\" d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v6M{to:.1} {:.1}v6\"/>",
                        middle - 3.0,
                        middle - 3.0,
                    );
                    format!("{} {unit}", number::plain(value))
                }
                None => {
                    // A stub says whose result is missing.
                    let _ = write!(
                        body,
                        "<rect class=\"s{colour}\" x=\"0\" y=\"{y:.1}\" width=\"3\" height=\"{:.1}\"><title>{}</title></rect>",
                        BAR - 4.0,
                        escape(&bar.label),
                    );
                    "no result".to_owned()
                }
            };
            text(&mut body, WIDTH, middle + 4.0, "end", &figure);
            y += BAR;
        }
        y += 6.0;
    }
    frame(y, &body)
}

/// Quantiles of latencies: the further right, the rarer; both axes logarithmic.
pub(super) fn quantiles(series: &[(usize, &Distribution)]) -> String {
    // 0, 90 %, 99 %, 99.9 %, 99.99 %.
    const DECADES: f64 = 4.0;
    let lines: Vec<Line> = series
        .iter()
        .map(|(series, distribution)| Line {
            series: *series,
            points: quantile_points(distribution, DECADES),
        })
        .collect();
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let least = values.clone().fold(f64::INFINITY, f64::min).floor();
    let most = values.fold(f64::NEG_INFINITY, f64::max).ceil();
    if !least.is_finite() || !most.is_finite() {
        return String::new();
    }
    let axes = Axes {
        x: (0.0, DECADES),
        y: (least, most.max(least + 1.0)),
        left: LEFT,
    };
    let x_ticks: Vec<(f64, String)> = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        .iter()
        .enumerate()
        .map(|(decade, name)| (decade as f64, (*name).to_owned()))
        .collect();
    let y_ticks: Vec<(f64, String)> = decades(axes.y)
        .map(|power| (power, number::nanos(10_f64.powf(power))))
        .collect();
    let mut body = axes.grid(&x_ticks, &y_ticks);
    for line in &lines {
        body += &axes.line(line);
    }
    frame(HEIGHT, &body)
}

/// Powers of ten within a range of logarithms.
fn decades((least, most): (f64, f64)) -> impl Iterator<Item = f64> {
    (least as i32..=most as i32).map(f64::from)
}

/// Logarithms: of how rare, and of how long.
fn quantile_points(distribution: &Distribution, decades: f64) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut below = 0;
    for (value, count) in &distribution.buckets {
        let level = (*value as f64).max(1.0).log10();
        let from = 1.0 - below as f64 / distribution.count as f64;
        below += count;
        let until = 1.0 - below as f64 / distribution.count as f64;
        // One in so many is as rare as these values can show.
        let rarest = decades.min((distribution.count as f64).log10());
        let rarity = |share: f64| (-share.max(f64::MIN_POSITIVE).log10()).min(rarest);
        points.push((rarity(from), level));
        points.push((rarity(until), level));
        if rarity(until) >= rarest {
            break;
        }
    }
    // Hundreds of steps of which most are smaller than a pixel: keep those that move.
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for point in points {
        let moves = kept.last().is_none_or(|last| {
            (point.0 - last.0).abs() > decades / 400.0 || (point.1 - last.1).abs() > 0.02
        });
        if moves {
            kept.push(point);
        }
    }
    kept
}

/// Shares of packets by the length of the run in which they left, side by side.
pub(super) fn run_lengths(series: &[(usize, &Distribution)]) -> String {
    /// Longer runs are one kind.
    const LONGEST: usize = 16;
    let mut shares = Vec::new();
    for (colour, lengths) in series {
        let mut packets = [0.0; LONGEST + 1];
        for (length, count) in &lengths.buckets {
            let place = usize::try_from(*length).unwrap_or(LONGEST).min(LONGEST);
            packets[place] += *length as f64 * *count as f64;
        }
        let all: f64 = packets.iter().sum();
        if all > 0.0 {
            shares.push((*colour, packets.map(|packets| packets / all)));
        }
    }
    if shares.is_empty() {
        return String::new();
    }
    let axes = Axes {
        x: (0.5, LONGEST as f64 + 0.5),
        y: (0.0, 1.0),
        left: LEFT,
    };
    let x_ticks: Vec<(f64, String)> = [1, 2, 4, 6, 8, 10, 12, 14, LONGEST]
        .iter()
        .map(|length| {
            let more = if *length == LONGEST { "+" } else { "" };
            (*length as f64, format!("{length}{more}"))
        })
        .collect();
    let y_ticks: Vec<(f64, String)> = [0.0, 0.25, 0.5, 0.75, 1.0]
        .iter()
        .map(|share| (*share, number::percent(*share)))
        .collect();
    let mut body = axes.grid(&x_ticks, &y_ticks);
    let width = 0.8 / shares.len() as f64;
    for (place, (colour, shares)) in shares.iter().enumerate() {
        for (length, share) in shares.iter().enumerate().skip(1) {
            if *share <= 0.0 {
                continue;
            }
            let left = axes.x(length as f64 - 0.4 + place as f64 * width);
            let right = axes.x(length as f64 - 0.4 + (place + 1) as f64 * width);
            let top = axes.y(*share);
            let _ = write!(
                body,
                "<rect class=\"s{}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>runs of {length}: {}</title></rect>",
                colour % COLOURS,
                right - left,
                axes.y(0.0) - top,
                number::percent(*share),
            );
        }
    }
    frame(HEIGHT, &body)
}

/// A name and its share.
pub(super) struct Row {
    /// What it is.
    pub(super) name: String,
    /// Which colour.
    pub(super) series: usize,
    /// From 0 to 1.
    pub(super) share: f64,
    /// The least and the most of several.
    pub(super) range: Option<(f64, f64)>,
}

/// A dot beside each name. The scale is logarithmic: some are a thousand times others.
pub(super) fn rows(rows: &[Row]) -> String {
    const ROW: f64 = 17.0;
    const NAME: f64 = 128.0;
    const FIGURE: f64 = 64.0;
    /// More powers of ten have no room; what is less is at the left.
    const DECADES: f64 = 4.0;
    /// Some letters begin left of where they stand.
    const INSET: f64 = 2.0;
    let longest = rows.iter().map(|row| row.name.chars().count()).max();
    let names = NAME.max(longest.unwrap_or_default() as f64 * 6.2 + 8.0);
    let high = |row: &Row| row.range.map_or(row.share, |(_, high)| high);
    let shares = rows
        .iter()
        .map(|row| row.share)
        .filter(|share| *share > 0.0);
    let least = shares.fold(f64::INFINITY, f64::min).log10().floor();
    let most = rows.iter().map(high).fold(0.0, f64::max).log10().ceil();
    if !least.is_finite() || !most.is_finite() {
        return String::new();
    }
    let most = most.max(least + 1.0);
    let least = least.max(most - DECADES);
    let x = |level: f64| names + (level - least) / (most - least) * (WIDTH - names - FIGURE);
    let bottom = rows.len() as f64 * ROW + 2.0;
    let mut body = String::new();
    for power in decades((least, most)) {
        let _ = write!(
            body,
            "<path class=\"grid\" d=\"M{:.1} 0V{bottom:.1}\"/>",
            x(power)
        );
        let name = number::percent(10_f64.powf(power));
        text(&mut body, x(power), bottom + 13.0, "middle", &name);
    }
    for (number, row) in rows.iter().enumerate() {
        let y = number as f64 * ROW;
        text(&mut body, INSET, y + 12.0, "start", &row.name);
        // Nothing is left of everything.
        let place = |share: f64| x(share.log10().max(least));
        if let Some((low, high)) = row.range {
            let _ = write!(
                body,
                "<path class=\"whisker\" d=\"M{:.1} {:.1}H{:.1}\"/>",
                place(low),
                y + 8.0,
                place(high),
            );
        }
        let at = place(row.share);
        let _ = write!(
            body,
            "<circle class=\"s{}\" cx=\"{at:.1}\" cy=\"{:.1}\" r=\"4.5\"/>",
            row.series % COLOURS,
            y + 8.0,
        );
        text(
            &mut body,
            WIDTH,
            y + 12.0,
            "end",
            &number::fine_percent(row.share),
        );
    }
    frame(bottom + 18.0, &body)
}

/// Shares over time, which has so many of a unit, and what happened meanwhile.
pub(super) fn timelines(lines: &[Line], marks: &[Mark], length: f64, unit: &str) -> String {
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let most = values.fold(0.0, f64::max);
    if most <= 0.0 || length <= 0.0 {
        return String::new();
    }
    let step = tick_step(most);
    let top = (most / step).ceil() * step;
    let ticks =
        |most: f64, step: f64| (0..=(most / step).round() as u32).map(move |n| f64::from(n) * step);
    let y_ticks: Vec<(f64, String)> = ticks(top, step)
        .map(|share| (share, number::percent(share)))
        .collect();
    let axes = Axes {
        x: (0.0, length),
        y: (0.0, top),
        left: room_for(&y_ticks),
    };
    let x_step = tick_step(length);
    let x_ticks: Vec<(f64, String)> = ticks((length / x_step).floor() * x_step, x_step)
        .map(|time| (time, format!("{} {unit}", (time * 100.0).round() / 100.0)))
        .collect();
    let mut body = axes.grid(&x_ticks, &y_ticks);
    body += &axes.marks(marks);
    for line in lines {
        body += &axes.line(line);
    }
    frame(HEIGHT, &body)
}

/// Left of an axis with these names.
fn room_for(ticks: &[(f64, String)]) -> f64 {
    let longest = ticks.iter().map(|(_, name)| name.chars().count()).max();
    LEFT.max(longest.unwrap_or_default() as f64 * CHARACTER + 8.0)
}

/// One, two or five times a power of ten, so that there are about five ticks.
fn tick_step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = |factor: &&f64| most / (**factor * power) <= 5.0;
    factors.iter().find(fits).unwrap_or(&10.0) * power
}

/// What the ends of both axes stand for.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
    /// Where the lower end of `x` is.
    left: f64,
}

impl Axes {
    fn x(&self, value: f64) -> f64 {
        let share = (value - self.x.0) / (self.x.1 - self.x.0);
        self.left + share * (WIDTH - self.left - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.y.0) / (self.y.1 - self.y.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, x_ticks: &[(f64, String)], y_ticks: &[(f64, String)]) -> String {
        let mut body = String::new();
        let left = self.left;
        for (value, name) in y_ticks {
            let y = self.y(*value);
            let _ = write!(
                body,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{:.1}\"/>",
                WIDTH - RIGHT
            );
            text(&mut body, left - 5.0, y + 4.0, "end", name);
        }
        for (value, name) in x_ticks {
            let x = self.x(*value);
            let _ = write!(
                body,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{:.1}\"/>",
                HEIGHT - BOTTOM
            );
            // The outermost names stay inside, and clear of the lowest one of the other axis.
            let (x, anchor) = if x > WIDTH - RIGHT - 10.0 {
                (WIDTH, "end")
            } else if x < left + 10.0 {
                (x, "start")
            } else {
                (x, "middle")
            };
            text(&mut body, x, HEIGHT - BOTTOM + 18.0, anchor, name);
        }
        body
    }

    /// Lines from top to bottom, in the order of time, each with its word to the left: below that of the one before where it would
    /// touch its line.
    fn marks(&self, marks: &[Mark]) -> String {
        let mut body = String::new();
        let (mut before, mut row) = (self.left, 0.0);
        for mark in marks {
            let x = self.x(mark.at);
            let width = mark.label.chars().count() as f64 * CHARACTER;
            row = if x - before < width { row + 1.0 } else { 0.0 };
            before = x;
            let _ = write!(
                body,
                "<path class=\"mark\" d=\"M{x:.1} {TOP}V{:.1}\"/><text class=\"of-mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                HEIGHT - BOTTOM,
                x - 3.0,
                TOP + 9.0 + row * ROW,
                escape(mark.label),
            );
        }
        body
    }

    fn line(&self, line: &Line) -> String {
        let mut path = String::new();
        for (index, (x, y)) in line.points.iter().enumerate() {
            let step = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", self.x(*x), self.y(*y));
        }
        format!("<path class=\"l{}\" d=\"{path}\"/>", line.series % COLOURS)
    }
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let _ = write!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escape(content)
    );
}

fn frame(height: f64, body: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">{body}</svg>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |value: f64| Bar {
            label: "x".to_owned(),
            series: 0,
            value: Some(Estimate {
                value,
                low: value,
                high: value,
            }),
        };
        let none = Bar {
            label: "y".to_owned(),
            series: 1,
            value: None,
        };
        let svg = bars(
            &[("a & b".to_owned(), vec![bar(100.0), bar(50.0), none])],
            "ns",
        );
        assert!(
            svg.contains("width=\"342.0\"") && svg.contains("width=\"171.0\""),
            "{svg}"
        );
        assert!(svg.contains("no result") && svg.contains("a &amp; b"));
    }

    #[test]
    fn rows_have_names_dots_and_figures() {
        let row = |name: &str, share: f64| Row {
            name: name.to_owned(),
            series: 7,
            share,
            range: (share > 0.05).then_some((share / 2.0, share)),
        };
        let svg = rows(&[row("a < b", 0.1), row("c", 0.01), row("d", 0.0)]);
        assert!(
            svg.contains("a &lt; b") && svg.contains("0 %</text>"),
            "{svg}"
        );
        for (x, many) in [("356.0", 1), ("128.0", 2)] {
            let dot = format!("<circle class=\"s1\" cx=\"{x}\"");
            assert_eq!(svg.matches(&dot).count(), many, "{svg}");
        }
        assert_eq!(svg.matches("class=\"whisker\"").count(), 1);
        assert_eq!(rows(&[row("d", 0.0)]), "");
        let far = rows(&[row("a", 0.5), row("b", 1e-7)]);
        assert_eq!(far.matches("class=\"grid\"").count(), 5, "{far}");
        assert!(far.contains("<circle class=\"s1\" cx=\"128.0\""), "{far}");
    }

    #[test]
    fn quantiles_rise_to_the_right() {
        let buckets: Vec<(u64, u64)> = (1..=1_000).map(|value| (value * 1_000, 1)).collect();
        let distribution = Distribution::from_buckets(&buckets).expect("values");
        let points = quantile_points(&distribution, 4.0);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
        let at = |rarity: f64| {
            let point = points.iter().find(|(x, _)| *x >= rarity);
            10_f64.powf(point.expect("reached").1)
        };
        assert!(
            (at(1.0) / 900_000.0 - 1.0).abs() < 0.05,
            "90 %: {}",
            at(1.0)
        );
        assert!(
            (at(2.0) / 990_000.0 - 1.0).abs() < 0.05,
            "99 %: {}",
            at(2.0)
        );
        assert!(quantiles(&[(0, &distribution)]).contains("99.9 %"));
    }

    #[test]
    fn large_figures_and_marks_have_room() {
        let line = Line {
            series: 0,
            points: vec![(0.0, 0.0), (90.0, 111.0)],
        };
        let mark = |at, label| Mark { at, label };
        let marks = [mark(45.0, "spike"), mark(47.0, "rack")];
        let svg = timelines(&[line], &marks, 90.0, "min");
        assert!(
            svg.contains("y=\"19.0\" text-anchor=\"end\">spike</text>"),
            "{svg}"
        );
        assert!(
            svg.contains("y=\"32.0\" text-anchor=\"end\">rack</text>"),
            "{svg}"
        );
        // Seven characters of seven and a half units each, and a little.
        assert!(
            svg.contains("<text x=\"55.5\"") && svg.contains("15000 %"),
            "{svg}"
        );
    }

    #[test]
    fn ticks_are_round_numbers() {
        for (most, step) in [(10.0, 2.0), (1.0, 0.2), (0.37, 0.1), (23.0, 5.0)] {
            let found = tick_step(most);
            assert!((found - step).abs() < 1e-9, "{most}: {found}");
        }
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(timelines(&[], &[], 1.0, "s"), "");
        assert_eq!(rows(&[]), "");
        assert_eq!(run_lengths(&[]), "");
        assert_eq!(quantiles(&[]), "");
    }
}
