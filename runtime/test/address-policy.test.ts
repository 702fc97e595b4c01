import t from 'tap'
import { type AddressPolicy, createAddressPolicy } from '../src/address-policy.ts'

const strict = createAddressPolicy({ allowPrivate: false, allow: [] })
const lenient = createAddressPolicy({ allowPrivate: true, allow: [] })

/** The verdict on a URL as it would be on its way to a socket: after WHATWG parsing. */
const refusalOfUrl = (policy: AddressPolicy, host: string) => {
  const { hostname } = new URL(`http://${host}/`)
  return /^[\d.]+$|^\[/.test(hostname)
    ? policy.refusalOfAddress(hostname.replace(/^\[|\]$/g, ''))
    : policy.refusalOfHost(hostname)
}

const ALWAYS_REFUSED = [
  '0.0.0.0',
  '0.1.2.3',
  '169.254.0.1',
  '169.254.169.254',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  'fe80::1',
  'fe80::1%eth0',
  'febf::1',
  'ff02::1',
  'fd00:ec2::254',
  'fd20:ce::254',
  '64:ff9b:1::1',
  // The same addresses inside IPv6 ones.
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  '::169.254.169.254',
  '::ffff:0:169.254.169.254',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b::169.254.169.254',
  '2002:a9fe:a9fe::1',
  '2001:0:1234::5601:5601',
  '::ffff:0.0.0.0',
]

const NOT_PUBLIC = [
  '127.0.0.1',
  '127.255.255.254',
  '10.0.0.1',
  '100.64.0.1',
  '100.127.255.255',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.1',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.0.1',
  '198.18.0.1',
  '198.19.255.255',
  '198.51.100.1',
  '203.0.113.1',
  '::1',
  'fc00::1',
  'fdff::1',
  'fec0::1',
  '100::1',
  '2001:db8::1',
  '2001:2::1',
  '3fff::1',
  '4000::1',
  '5f00::1',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::127.0.0.1',
  '::ffff:10.0.0.1',
  '64:ff9b::7f00:1',
  '64:ff9b::10.0.0.1',
  '2002:7f00:1::',
  '2002:c0a8:1::1',
  '2001:0:1234::80ff:fffe',
]

const PUBLIC = [
  '1.1.1.1',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.0',
  '172.15.255.255',
  '172.32.0.0',
  '192.167.255.255',
  '192.169.0.0',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
  '2000::1',
  '2606:4700:4700::1111',
  '2001:4860:4860::8888',
  '2a00::1',
  '::ffff:8.8.8.8',
  '64:ff9b::8.8.8.8',
]

t.test('refuses link-local, metadata, unspecified, multicast and reserved addresses always', async (t) => {
  for (const address of ALWAYS_REFUSED) {
    t.type(lenient.refusalOfAddress(address), 'string', address)
    t.type(strict.refusalOfAddress(address), 'string', address)
  }
})

t.test('refuses what is not public unless private addresses are allowed', async (t) => {
  for (const address of NOT_PUBLIC) {
    t.type(strict.refusalOfAddress(address), 'string', address)
    t.equal(lenient.refusalOfAddress(address), null, address)
  }
})

t.test('allows public addresses up to the edges of the refused ranges', async (t) => {
  for (const address of PUBLIC) {
    t.equal(strict.refusalOfAddress(address), null, address)
    t.equal(lenient.refusalOfAddress(address), null, address)
  }
})

t.test('names the kind of address and not the address', async (t) => {
  t.equal(strict.refusalOfAddress('::ffff:127.0.0.1'), 'a loopback address')
  t.equal(strict.refusalOfAddress('169.254.169.254'), 'a cloud metadata service')
  for (const address of [...ALWAYS_REFUSED, ...NOT_PUBLIC]) {
    t.notMatch(strict.refusalOfAddress(address), /\d/, address)
  }
})

t.test('refuses what is not an address', async (t) => {
  for (const text of ['', 'localhost', '0x7f.1', '127.1', '1.2.3.4.5', '[::1]']) {
    t.type(lenient.refusalOfAddress(text), 'string', text)
  }
})

t.test('refuses every spelling of loopback once a URL parser has read it', async (t) => {
  for (const host of [
    '127.0.0.1',
    '127.1',
    '127.0.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0x7F.0.0.0x1',
    '017700000001',
    '0177.0.0.1',
    '127.0.0.1.',
    '①②⑦.⓪.⓪.①',
    '127。0。0。1',
    '%31%32%37.0.0.1',
    '127.8.8.8',
    '0',
    '0.0.0.0',
    '[::]',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[0:0:0:0:0:ffff:127.0.0.1]',
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    'localhost',
    'LOCALHOST',
    'localhost.',
    'a.localhost',
    'ｌｏｃａｌｈｏｓｔ',
  ]) {
    t.type(refusalOfUrl(strict, host), 'string', host)
  }
})

t.test('refuses every spelling of the metadata service even where private addresses are allowed', async (t) => {
  for (const host of [
    '169.254.169.254',
    '2852039166',
    '0xa9fea9fe',
    '0xa9.254.0xa9.254',
    '0251.0376.0251.0376',
    '169.254.43518',
    '[::ffff:169.254.169.254]',
    '[::ffff:a9fe:a9fe]',
    '[64:ff9b::a9fe:a9fe]',
    '[2002:a9fe:a9fe::]',
    '[fd00:ec2::254]',
    '[fd00:0ec2:0:0:0:0:0:254]',
    'metadata',
    'metadata.',
    'metadata.google.internal',
    'METADATA.google.internal.',
    'metadata.goog',
  ]) {
    t.type(refusalOfUrl(lenient, host), 'string', host)
  }
})

t.test('refuses local names unless private addresses are allowed', async (t) => {
  for (const name of ['localhost', 'x.localhost', 'printer.local', 'db.internal', 'DB.Internal.']) {
    t.equal(strict.refusalOfHost(name), 'a local name', name)
    t.equal(lenient.refusalOfHost(name), null, name)
  }
  for (const name of ['example.com', 'local', 'internal.example.com', 'notlocalhost']) {
    t.equal(strict.refusalOfHost(name), null, name)
  }
})

t.test('opens what the operator names', async (t) => {
  const policy = createAddressPolicy({
    allowPrivate: false,
    allow: ['10.1.2.0/24', '127.0.0.2', 'fd12::/16', 'Wiki.Internal'],
  })
  for (const address of ['10.1.2.3', '127.0.0.2', '::ffff:10.1.2.3', 'fd12::1']) {
    t.equal(policy.refusalOfAddress(address), null, address)
  }
  for (const address of ['10.1.3.1', '127.0.0.1', 'fd13::1'])
    t.type(policy.refusalOfAddress(address), 'string', address)
  t.equal(policy.refusalOfHost('wiki.internal.'), null)
  t.type(policy.refusalOfHost('x.wiki.internal'), 'string')
  t.equal(policy.refusalOfAddress('10.9.9.9', 'WIKI.internal'), null, 'an open name opens the address it resolves to')
  t.type(policy.refusalOfAddress('10.9.9.9', 'other.example'), 'string')
})

t.test('opens what is always refused only to an entry that names it and nothing wider', async (t) => {
  const address = '169.254.169.254'
  const opened = (...allow: string[]) =>
    createAddressPolicy({ allowPrivate: true, allow }).refusalOfAddress(address, 'metadata') === null
  t.notOk(opened('0.0.0.0/0'))
  t.notOk(opened('169.254.0.0/16'), 'link-local is open, its metadata service is not')
  t.notOk(opened('metadata'), 'a name answers for private addresses only')
  t.ok(opened('169.254.169.254'))
  t.ok(opened('169.254.169.254/32'))
  const linkLocal = createAddressPolicy({ allowPrivate: false, allow: ['169.254.0.0/16', 'metadata'] })
  t.equal(linkLocal.refusalOfAddress('169.254.1.1'), null)
  t.equal(linkLocal.refusalOfHost('metadata'), null)
})

t.test('does not start with an allow list that it cannot read', async (t) => {
  for (const entry of [
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0/8',
    '::/129',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '',
    '256.1.1.1',
    'a b',
  ]) {
    t.throws(() => createAddressPolicy({ allowPrivate: false, allow: [entry] }), /not an address/, `"${entry}"`)
  }
})
