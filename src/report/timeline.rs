//! Traffic over time, in block characters.

use super::layout::Style;
use super::lines::Lines;
use super::names::{Clock, length, rate};

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SIGNS: [char; 8] = ['.', ':', '-', '=', '+', '*', '#', '@'];

/// The width of the titles before the bars.
const TITLE: usize = 10;

/// The traffic sent and received, each with its peak, and an axis.
pub(super) fn timeline(lines: &Lines, clock: Clock, style: Style) -> String {
    let (series, bins) = (&lines.series, lines.length);
    let room = style.width.saturating_sub(TITLE).clamp(10, 120) as i64;
    // Bars are sums of bins, so that nothing is left out between them.
    let (first, last) = lines.bins();
    let per_bar = (last - first) / room + 1;
    let count = (last - first) / per_bar + 1;
    let mut bars = vec![(0_u128, 0_u128); usize::try_from(count).unwrap_or(0)];
    for bin in series.bins() {
        let bar = usize::try_from((bin.number - first) / per_bar).ok();
        if let Some(bar) = bar.and_then(|bar| bars.get_mut(bar)) {
            bar.0 += u128::from(bin.sent);
            bar.1 += u128::from(bin.received);
        }
    }
    let mut text = String::new();
    let sent = series
        .peak_by(|bin| bin.sent.into())
        .map(|bin| (bin.number, bin.sent));
    let received = series
        .peak_by(|bin| bin.received.into())
        .map(|bin| (bin.number, bin.received));
    let shown: [(&str, Vec<u128>, _); 2] = [
        ("sent", bars.iter().map(|bar| bar.0).collect(), sent),
        ("received", bars.iter().map(|bar| bar.1).collect(), received),
    ];
    for (title, bars, peak) in shown {
        text.push_str(&format!("{title:<TITLE$}{}\n", draw(&bars, style.ascii)));
        if let Some((bin, bytes)) = peak {
            text.push_str(&format!(
                "{:TITLE$}peak {} at {}\n",
                "",
                rate(bytes.into(), bins.milliseconds()),
                clock.show(lines.begin(bin))
            ));
        }
    }
    let bar = per_bar.saturating_mul(bins.milliseconds());
    text.push_str(&format!(
        "{:TITLE$}{}\n",
        "",
        axis(bins.begin(first), bar, bars.len(), clock)
    ));
    text.push_str(&format!(
        "{:TITLE$}a character is {}; peaks and times are those of bins of {}\n",
        "",
        length(bar),
        length(bins.milliseconds())
    ));
    text
}

/// Draws values as characters. Only nothing at all is empty.
fn draw(bars: &[u128], ascii: bool) -> String {
    let most = bars.iter().copied().max().unwrap_or(0).max(1);
    let signs = if ascii { SIGNS } else { BLOCKS };
    let sign = |value: u128| match value {
        0 => ' ',
        value => {
            let level = (value as f64 / most as f64 * 8.0).ceil() as usize;
            signs.get(level.clamp(1, 8) - 1).copied().unwrap_or(' ')
        }
    };
    let text: String = bars.iter().map(|value| sign(*value)).collect();
    text.trim_end().to_owned()
}

/// Times below the bars, each at its bar.
fn axis(begin: i64, bar: i64, bars: usize, clock: Clock) -> String {
    let mut text = String::new();
    let width = clock.show(begin).len();
    let mut at = 0;
    while at < bars && at + width <= bars.max(width) {
        text.push_str(&" ".repeat(at - text.len()));
        text.push_str(&clock.show(begin.saturating_add(bar.saturating_mul(at as i64))));
        at += (width + 6).max(bars / 5);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_is_full_and_the_smallest_is_visible() {
        assert_eq!(draw(&[0, 1, 500, 1000, 0], false), " ▁▄█");
        assert_eq!(draw(&[0, 1, 500, 1000, 0], true), " .=@");
        assert_eq!(draw(&[], false), "");
    }
}
