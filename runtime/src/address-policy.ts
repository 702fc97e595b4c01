/**
 * Which hosts and addresses a URL of a submitter, or a sandbox, may reach. Agents stand inside networks that neither can
 * enter, so this table, and the operator's opening of it, is what makes HTTP_GET_JSON and egress safe to offer.
 *
 * Pure: text in, reason out. Resolving names, and asking again for what they resolve to, is the caller's part.
 */
import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'

export type AddressPolicy = {
  /** Why this name may not be looked up, or null. */
  refusalOfHost(hostname: string): string | null
  /** Why this IP address may not be connected to, or null. `hostname` is the name that resolved to it, if one did. */
  refusalOfAddress(address: string, hostname?: string): string | null
}

export type AddressPolicyOptions = {
  /** Opens every address that is not in `ALWAYS_REFUSED`. */
  allowPrivate: boolean
  /**
   * CIDRs, addresses and host names that the operator opens. A CIDR opens what `ALWAYS_REFUSED` holds only where it
   * lies within the refused range (`0.0.0.0/0` does not open the metadata service); a name opens the private addresses
   * it resolves to, and nothing that is always refused.
   */
  allow: readonly string[]
}

type Address = { family: number; bits: bigint }
type Range = Address & { hostBits: bigint }
type Row = { range: Range; reason: string }

const bitsOf = (address: string): bigint => {
  if (isIP(address) === 4) return address.split('.').reduce((bits, part) => (bits << 8n) | BigInt(part), 0n)
  // The URL parser writes a dotted tail as two groups.
  const [head = '', tail = ''] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const left = head.split(':').filter(Boolean)
  const right = tail.split(':').filter(Boolean)
  const zeros = Array<string>(8 - left.length - right.length).fill('0')
  return [...left, ...zeros, ...right].reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n)
}

/** `text` as an address, its zone (`%eth0`) dropped; null for anything else. */
const addressOf = (text: string): Address | null => {
  const family = isIP(text)
  return family === 0 ? null : { family, bits: bitsOf(text.replace(/%.*/, '')) }
}

const rangeOf = (cidr: string): Range => {
  const [, text = '', prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(cidr) ?? []
  const address = addressOf(text)
  const width = address?.family === 4 ? 32 : 128
  const prefixBits = Number(prefix ?? width)
  if (!address || prefixBits > width) throw new Error(`not an address, a CIDR or a host name: ${cidr}`)
  return { ...address, hostBits: BigInt(width - prefixBits) }
}

const contains = (range: Range, { family, bits }: Address): boolean =>
  range.family === family && range.bits >> range.hostBits === bits >> range.hostBits

const rowsOf = (table: Record<string, readonly string[]>): Row[] =>
  Object.entries(table).flatMap(([reason, cidrs]) => cidrs.map((cidr) => ({ range: rangeOf(cidr), reason })))

const ALWAYS_REFUSED = rowsOf({
  'an unspecified address': ['0.0.0.0/8', '::/128'],
  // AWS, GCP and most others; Alibaba; Azure's wire server; Oracle; AWS and GCP over IPv6.
  'a cloud metadata service': [
    '169.254.169.254/32',
    '100.100.100.200/32',
    '168.63.129.16/32',
    '192.0.0.192/32',
    'fd00:ec2::254/128',
    'fd20:ce::254/128',
  ],
  'a link-local address': ['169.254.0.0/16', 'fe80::/10'],
  'a multicast address': ['224.0.0.0/4', 'ff00::/8'],
  // 64:ff9b:1::/48 is NAT64 with a prefix length of the network's choice: which IPv4 address it hides is unknown.
  'a reserved address': ['240.0.0.0/4', '64:ff9b:1::/48'],
})

/** The special-purpose registries of IANA (RFC 6890), as far as they are not globally reachable. */
const NOT_PUBLIC = rowsOf({
  'a loopback address': ['127.0.0.0/8', '::1/128'],
  'a private address': ['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fec0::/10'],
  'an address for documentation': ['192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32', '3fff::/20'],
  // The last three are everything but 2000::/3, the only part of IPv6 given out as global unicast.
  'an address without a public route': [
    '192.0.0.0/24',
    '192.88.99.0/24',
    '198.18.0.0/15',
    '2001::/23',
    '::/3',
    '4000::/2',
    '8000::/1',
  ],
})

/** IPv6 forms that stand for an IPv4 address, and how far to the right of it they go on. */
const EMBEDDINGS: readonly { range: Range; shift: bigint; inverted?: boolean }[] = [
  { range: rangeOf('::ffff:0:0/96'), shift: 0n }, // mapped, RFC 4291
  { range: rangeOf('::ffff:0:0:0/96'), shift: 0n }, // translated, RFC 2765
  { range: rangeOf('::/96'), shift: 0n }, // compatible, RFC 4291
  { range: rangeOf('64:ff9b::/96'), shift: 0n }, // NAT64, RFC 6052
  { range: rangeOf('2002::/16'), shift: 80n }, // 6to4, RFC 3056
  { range: rangeOf('2001::/32'), shift: 0n, inverted: true }, // Teredo, RFC 4380
]

/** The address that traffic to `address` ends at. */
const unwrapped = (address: Address): Address => {
  // `::` and `::1` look like compatible forms and are addresses of their own.
  const form = address.bits > 1n && EMBEDDINGS.find(({ range }) => contains(range, address))
  if (!form) return address
  return { family: 4, bits: BigInt.asUintN(32, (form.inverted ? ~address.bits : address.bits) >> form.shift) }
}

const METADATA_NAMES = new Set(['metadata', 'metadata.google.internal', 'metadata.goog'])
const LOCAL_NAMES = /(^|\.)localhost$|\.local$|\.internal$/

/** One spelling for a name: `LOCALHOST.` is `localhost`. */
const nameOf = (hostname: string) => hostname.toLowerCase().replace(/\.$/, '')

/** Throws where an entry of `allow` is none of an address, a CIDR or a host name. */
export const createAddressPolicy = ({ allowPrivate, allow }: AddressPolicyOptions): AddressPolicy => {
  const isRange = (entry: string) => entry.includes('/') || isIP(entry) !== 0
  const openRanges = allow.filter(isRange).map(rangeOf)
  const openNames = new Set(
    allow
      .filter((entry) => !isRange(entry))
      .map((entry) => {
        const name = nameOf(domainToASCII(entry))
        if (name === '' || isIP(name)) throw new Error(`not an address, a CIDR or a host name: ${entry}`)
        return name
      }),
  )

  return {
    refusalOfHost(hostname) {
      const name = nameOf(hostname)
      if (openNames.has(name)) return null
      if (METADATA_NAMES.has(name)) return 'a cloud metadata service'
      return !allowPrivate && LOCAL_NAMES.test(name) ? 'a local name' : null
    },

    refusalOfAddress(text, hostname) {
      const outer = addressOf(text)
      if (!outer) return 'something that is not an IP address'
      const address = unwrapped(outer)
      const openers = openRanges.filter((range) => contains(range, address))
      const refusing = (rows: Row[], opens: (opener: Range, row: Row) => boolean) =>
        rows.find((row) => contains(row.range, address) && !openers.some((opener) => opens(opener, row)))?.reason

      const always = refusing(ALWAYS_REFUSED, (opener, row) => opener.hostBits <= row.range.hostBits)
      if (always) return always
      if (allowPrivate || (hostname !== undefined && openNames.has(nameOf(hostname)))) return null
      return refusing(NOT_PUBLIC, () => true) ?? null
    },
  }
}
