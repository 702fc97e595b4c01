// How settings are shown to people: --help, --print-config and the documentation, all from the one table.
import type { Setting, Settings, SettingsTable } from './settings.ts'

/** The text of --help: `title`, `usage`, one line a setting in aligned columns, then `extraLines` as they are. */
export function helpText(
  title: string,
  usage: string,
  table: SettingsTable,
  extraLines: readonly string[] = [],
): string {
  const rows = Object.values(table).map((setting) => [
    setting.kind === 'flag' ? setting.flag : `${setting.flag} <${setting.kind}>`,
    setting.name,
    defaultText(setting),
    [rangeText(setting), unitText(setting)].filter(Boolean).join(' '),
    setting.meaning,
  ])
  const lines = alignColumns([['FLAG', 'ENVIRONMENT', 'DEFAULT', 'RANGE', 'MEANING'], ...rows])
  return [title, '', `Usage: ${usage}`, '', ...lines.map((line) => `  ${line}`), '', ...extraLines].join('\n').trimEnd()
}

/** What --print-config shows: the values under their environment names; a secret that is set shows as `***`. */
export function printableSettings<T extends SettingsTable>(
  table: T,
  values: Settings<T>,
): Record<string, Settings<T>[keyof T] | '***'> {
  return Object.fromEntries(
    Object.entries(table).map(([key, setting]) => {
      const value = values[key as keyof T]
      const hidden = setting.kind === 'text' && setting.secret === true && value !== ''
      return [setting.name, hidden ? '***' : value]
    }),
  )
}

/** The table as Markdown, for the documentation. */
export function settingsTable(table: SettingsTable): string {
  const rows = Object.values(table).map((setting) => [
    `\`${setting.name}\``,
    `\`${setting.flag}\``,
    `\`${defaultText(setting)}\``,
    rangeText(setting) && `\`${rangeText(setting)}\``,
    unitText(setting),
    setting.meaning,
  ])
  const header = ['name', 'flag', 'default', 'range', 'unit', 'meaning']
  return [header, header.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n')
}

function defaultText(setting: Setting): string {
  return (setting.kind === 'list' ? setting.default.join(',') : String(setting.default)) || 'empty'
}

function rangeText(setting: Setting): string {
  switch (setting.kind) {
    case 'integer':
      return `${setting.min}–${setting.max}`
    case 'text':
      return setting.choices?.join(', ') ?? (setting.pattern ? String(setting.pattern) : '')
    case 'flag':
      return 'true, false'
    case 'list':
      return String(setting.pattern)
  }
}

function unitText(setting: Setting): string {
  switch (setting.kind) {
    case 'integer':
      return setting.unit
    case 'text':
      return setting.unit ?? ''
    case 'flag':
      return ''
    case 'list':
      return 'comma-separated'
  }
}

function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}
