"""The comparison as a picture: each row's ratio to the best of that row."""

import subprocess

from .allocators import OURS

OURS_STYLE = "pt 7 ps 1.0 lc rgb '#d62728'"
PEER_STYLES = ["pt %d ps 0.9 lc rgb '%s'" % style for style in (
    (6, "#555555"), (4, "#1f77b4"), (8, "#2ca02c"), (12, "#9467bd"),
    (10, "#ff7f0e"), (2, "#17becf"), (1, "#8c564b"), (14, "#bcbd22"))]

# What is further off than this is drawn at the edge.
LARGEST_RATIO = 16.0


def styles(names):
    """Ours always looks the same, whoever else takes part."""
    peers = [n for n in names if n != OURS]
    result = {n: PEER_STYLES[i % len(PEER_STYLES)]
              for i, n in enumerate(peers)}
    result[OURS] = OURS_STYLE
    return result


def panel(results, figure, title):
    """gnuplot commands for one figure: rows on the y axis, ratios on x."""
    rows = [r for r in results.rows if r.metric == "time" and
            any(results.value(r, n, figure) for n in results.names)]
    means, _ = results.geomeans(rows, figure)
    rows.reverse()  # the first row goes to the top
    tics = ", ".join('"%s" %d' % (r.name, i) for i, r in enumerate(rows))
    lines = ["set title '%s'" % title,
             "set yrange [-0.7:%.1f]" % (len(rows) - 0.3),
             "set ytics (%s)" % tics]
    style = styles(results.names)
    # Later points cover earlier ones, and ours should stay visible.
    order = [n for n in results.names if n != OURS]
    order += [n for n in results.names if n == OURS]
    plots = []
    for i, name in enumerate(order):
        lines.append("$d%d << EOD" % i)
        for y, row in enumerate(rows):
            value = results.value(row, name, figure)
            best, _ = results.best(row, figure, results.names)
            if value and best:
                lines.append("%.4f %d" % (min(value / best, LARGEST_RATIO), y))
        lines.append("EOD")
        mean = " (mean %.2f)" % means[name] if name in means else ""
        plots.append("$d%d with points %s title '%s%s'"
                     % (i, style[name], name, mean))
    lines.append("plot " + ", \\\n     ".join(plots))
    return lines, len(rows)


def draw(results, path):
    """Write an SVG, or a PNG if the name ends so; False if there is nothing to
    draw. Raises FileNotFoundError without gnuplot, CalledProcessError if it
    fails."""
    left, rows = panel(results, results.time, "time / best of the row")
    right, _ = panel(results, "rss_peak", "peak RSS / leanest of the row")
    if not rows:
        return False
    png = path.endswith(".png")
    script = [
        "set terminal %s size 1400,%d font 'sans,10' background '#ffffff'"
        % ("pngcairo" if png else "svg", 150 + 17 * rows),
        "set output '%s'" % path.replace("'", "''"),
        "set multiplot layout 1,2",
        "set logscale x 2",
        "set xrange [0.95:%g]" % (LARGEST_RATIO * 1.05),
        "set xtics (1, 1.25, 1.5, 2, 3, 4, 6, 8, '%g+' %g)"
        % (LARGEST_RATIO, LARGEST_RATIO),
        "set grid xtics ytics lt 1 lw 0.5 lc rgb '#cccccc'",
        "set key outside bottom center horizontal maxrows 3",
        *left, *right, "unset multiplot"]
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True,
                   check=True, capture_output=True)
    return True
