/** Bars as an SVG file that is readable on light and dark pages, as plain text. */
export type Panel = { title: string; bars: readonly { label: string; value: number; isOurs: boolean }[] }

const WIDTH = 720
const LABEL_WIDTH = 130
const VALUE_WIDTH = 80
const BAR_HEIGHT = 18
const ROW_HEIGHT = 26
const TITLE_HEIGHT = 40

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .ours { fill: #0969da }
  .peer { fill: #8c959f }
  .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ours { fill: #4493f8 }
    .peer { fill: #6e7681 }
    .page { fill: #0d1117 }
  }`

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** Each panel has a scale of its own, from 0. */
export function barChart(description: string, panels: readonly Panel[]): string {
  let y = 0
  const body = panels.flatMap(({ title, bars }) => {
    const greatest = Math.max(...bars.map(({ value }) => value))
    const titleY = y + 26
    y += TITLE_HEIGHT
    const rows = bars.map(({ label, value, isOurs }) => {
      const width = Math.max(1, (value / greatest) * (WIDTH - LABEL_WIDTH - VALUE_WIDTH))
      const textY = y + BAR_HEIGHT - 5
      const row = [
        `<text x="${LABEL_WIDTH - 8}" y="${textY}" text-anchor="end">${escaped(label)}</text>`,
        `<rect class="${isOurs ? 'ours' : 'peer'}" x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" rx="2"/>`,
        `<text x="${(LABEL_WIDTH + width + 6).toFixed(1)}" y="${textY}">${Math.round(value).toLocaleString('en')}</text>`,
      ]
      y += ROW_HEIGHT
      return row.join('')
    })
    return [`<text class="title" x="8" y="${titleY}">${escaped(title)}</text>`, ...rows]
  })
  const height = y + 12
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(description)}">
<style>${STYLE}
</style>
<rect class="page" width="${WIDTH}" height="${height}"/>
${body.join('\n')}
</svg>
`
}
