"""How the page of `report` looks, and how its sliders move: plain CSS and JavaScript."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5d6675; --line: #dfe3ea; --page: #f6f7f9; --card: #fff;
  --accent: #0072b2; --warn: #b34700; --good: #00724d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ec; --soft: #9aa3b2; --line: #313845; --page: #14171c;
  --card: #1c2027; --accent: #6cb8ea; --warn: #f0a060; --good: #5cc9a0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; font-weight: 650; margin: 0; overflow-wrap: anywhere; }
section { margin-top: 1.25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; }
h3 { font-size: .95rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h4 { margin: 0; color: var(--warn); }
p, ul { margin: .35rem 0; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; }
a { color: var(--accent); }
code, pre { font: .85em/1.5 ui-monospace, monospace; }
code { background: var(--page); border-radius: .25rem; padding: .1em .3em; display: inline-block; max-width: 100%; }
pre { overflow: auto; max-height: 32rem; margin: .75rem 0 0; }
.cards { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
article, .wide, .panels { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
article { padding: 1.1rem 1.25rem; min-width: 0; }
.fact { display: flex; gap: .75rem; }
.fact b { flex: 0 0 5.5rem; font-weight: 400; color: var(--soft); }
.fact span { min-width: 0; }
dl { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 0 0 .9rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.finding + .finding { border-top: 1px solid var(--line); margin-top: .9rem; padding-top: .9rem; }
.good { color: var(--good); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .55rem .7rem; text-align: right; white-space: nowrap; }
thead th { white-space: normal; }
th:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 8rem; position: sticky;
  left: 0; background: var(--card); }
tbody th { font-weight: 400; }
thead th { color: var(--soft); font-size: .85rem; font-weight: 500; }
tbody tr { border-top: 1px solid var(--line); }
.small { color: var(--soft); font-size: .85rem; margin-top: .6rem; }
.grids { display: grid; justify-items: center; gap: .6rem; }
figure { margin: 0; max-width: 100%; }
figure[hidden] { display: none; }
figure img { display: block; max-width: 100%; height: auto; border-radius: .3rem; }
figure pre { margin: 0; }
figcaption { color: var(--soft); text-align: center; margin-top: .4rem; font-variant-numeric: tabular-nums; }
input[type=range] { width: min(100%, 32rem); accent-color: var(--accent); }
.panels { display: grid; gap: .25rem; padding: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.curves { width: 100%; }
@media (prefers-color-scheme: dark) { .curves { filter: invert(.9) hue-rotate(180deg); } }
summary { cursor: pointer; }
"""

SCRIPT = """
for (const grids of document.querySelectorAll(".grids")) {
  const figures = grids.querySelectorAll("figure");
  grids.querySelector("input")?.addEventListener("input", (event) =>
    figures.forEach((figure, number) => { figure.hidden = number !== Number(event.target.value); }));
}
"""
