-- A dissector of acton/1 and of acton's plain mode (docs/PROTOCOL.md) for Wireshark 3 and later.
--
-- Put it into the folder of personal Lua plugins (Help > About Wireshark > Folders), or
--   tshark -X lua_script:acton.lua -r FILE
-- It takes the UDP port 8080 unless its preferences name another. On other ports what looks like
-- acton/1 is recognised by itself; plain mode is not, for there any datagram may be a frame.
-- It decrypts nothing: contrib/decoder does, with a key log.

local acton = Proto("acton", "acton Ethernet over UDP")

-- Types, by byte 0: the name, the size or the least size, and whether the rest is sealed.
local TYPES = {
  [0x11] = { name = "HELLO", size = 168 },
  [0x12] = { name = "WELCOME", size = 108 },
  [0x13] = { name = "RETRY", size = 64 },
  [0x14] = { name = "DATA", least = 33 },
  [0x15] = { name = "CONTROL", least = 36 },
  [0x16] = { name = "BUNDLE", least = 64 },
  [0x18] = { name = "RESET", size = 16 },
  [0x19] = { name = "QUERY", size = 64 },
  [0x1a] = { name = "REPLY", size = 64 },
}
local MAX_DATAGRAM = 65507
local MIN_FRAME = 14
local CONTROL_TEXTS = { HELLO = true, KEEPALIVE = true, BYE = true }

local names = {}
for byte, kind in pairs(TYPES) do names[byte] = kind.name end

local f = {
  type = ProtoField.uint8("acton.type", "Version and type", base.HEX, names),
  reserved = ProtoField.bytes("acton.reserved", "Reserved"),
  sender = ProtoField.uint32("acton.sender_id", "Sender's id", base.HEX),
  receiver = ProtoField.uint32("acton.receiver_id", "Receiver's id", base.HEX),
  ephemeral = ProtoField.bytes("acton.ephemeral", "Ephemeral public key"),
  static = ProtoField.bytes("acton.enc_static", "Client's public key, sealed"),
  payload = ProtoField.bytes("acton.enc_payload", "Payload, sealed"),
  mac1 = ProtoField.bytes("acton.mac1", "mac1"),
  mac2 = ProtoField.bytes("acton.mac2", "mac2"),
  nonce = ProtoField.bytes("acton.nonce", "Nonce"),
  cookie = ProtoField.bytes("acton.enc_cookie", "Cookie, sealed"),
  counter = ProtoField.uint64("acton.counter", "Counter"),
  index = ProtoField.uint8("acton.frag.index", "Piece", base.DEC, nil, 0xf0),
  spare = ProtoField.uint8("acton.frag.reserved", "Reserved", base.HEX, nil, 0x0e),
  last = ProtoField.bool("acton.frag.last", "Last piece", 8, nil, 0x01),
  flags = ProtoField.uint8("acton.flags.reserved", "Reserved", base.HEX, nil, 0xfe),
  csum = ProtoField.bool("acton.flags.csum", "Inner checksum is partial", 8, nil, 0x01),
  sealed = ProtoField.bytes("acton.ciphertext", "Ciphertext"),
  tag = ProtoField.bytes("acton.tag", "Tag"),
  plain = ProtoField.string("acton.plain.control", "Plain mode, control"),
  frame = ProtoField.uint32("acton.plain.frame_len", "Plain mode, frame of bytes"),
}
local list = {}
for _, field in pairs(f) do list[#list + 1] = field end
acton.fields = list

local wrong = {
  length = ProtoExpert.new("acton.wrong.length", "The length does not fit the type",
    expert.group.MALFORMED, expert.severity.ERROR),
  reserved = ProtoExpert.new("acton.wrong.reserved", "A reserved bit is not zero",
    expert.group.PROTOCOL, expert.severity.ERROR),
  id = ProtoExpert.new("acton.wrong.id", "An id is zero",
    expert.group.PROTOCOL, expert.severity.ERROR),
  fragment = ProtoExpert.new("acton.wrong.fragment",
    "The sixteenth piece is not the last, or the counter is below the piece's index",
    expert.group.PROTOCOL, expert.severity.ERROR),
  unknown = ProtoExpert.new("acton.wrong.unknown", "Neither acton/1 nor plain mode",
    expert.group.UNDECODED, expert.severity.WARN),
}
acton.experts = { wrong.length, wrong.reserved, wrong.id, wrong.fragment, wrong.unknown }

local AUTO, SECURE, PLAIN = 0, 1, 2
acton.prefs.port = Pref.uint("UDP port", 8080, "The server's port")
acton.prefs.mode = Pref.enum("On that port", AUTO, "What the datagrams there are", {
  { 1, "either", AUTO },
  { 2, "acton/1", SECURE },
  { 3, "plain", PLAIN },
}, true)

local ethernet = Dissector.get("eth_withoutfcs")

-- What keeps a datagram from being acton/1: the name of an entry of `wrong`, nil if nothing does.
local function fault(buffer)
  local kind = TYPES[buffer(0, 1):uint()]
  local length = buffer:len()
  if kind.size and length ~= kind.size or kind.least and length < kind.least
    or length > MAX_DATAGRAM then
    return "length"
  end
  if kind.name == "DATA" then
    local frag = buffer(1, 1):uint()
    local index, last = bit.rshift(frag, 4), bit.band(frag, 1)
    if bit.band(frag, 0x0e) ~= 0 or bit.band(buffer(2, 1):uint(), 0xfe) ~= 0
      or buffer(3, 1):uint() ~= 0 then
      return "reserved"
    end
    local low = buffer(8, 4):uint() == 0 and buffer(12, 4):uint() < index
    if index == 15 and last == 0 or low then return "fragment" end
  elseif kind.name == "BUNDLE" then
    if bit.band(buffer(1, 3):uint(), 0xfffeff) ~= 0 then return "reserved" end
  elseif buffer(1, 3):uint() ~= 0 then
    return "reserved"
  end
  if buffer(4, 4):uint() == 0 or kind.name == "WELCOME" and buffer(8, 4):uint() == 0 then
    return "id"
  end
  return nil
end

local function is_secure(buffer)
  return buffer:len() > 0 and TYPES[buffer(0, 1):uint()] ~= nil and fault(buffer) == nil
end

local dissect = {}

function dissect.HELLO(buffer, tree)
  tree:add(f.sender, buffer(4, 4))
  tree:add(f.ephemeral, buffer(8, 32))
  tree:add(f.static, buffer(40, 48))
  tree:add(f.payload, buffer(88, 48))
  tree:add(f.mac1, buffer(136, 16))
  tree:add(f.mac2, buffer(152, 16))
  local proven = buffer(152, 16):bytes():tohex():find("[^0]") and ", with a cookie" or ""
  return string.format("id 0x%08x%s", buffer(4, 4):uint(), proven)
end

function dissect.WELCOME(buffer, tree)
  tree:add(f.receiver, buffer(4, 4))
  tree:add(f.sender, buffer(8, 4))
  tree:add(f.ephemeral, buffer(12, 32))
  tree:add(f.payload, buffer(44, 48))
  tree:add(f.mac1, buffer(92, 16))
  return string.format("to 0x%08x, id 0x%08x", buffer(4, 4):uint(), buffer(8, 4):uint())
end

function dissect.RETRY(buffer, tree)
  tree:add(f.receiver, buffer(4, 4))
  tree:add(f.nonce, buffer(8, 24))
  tree:add(f.cookie, buffer(32, 32))
  return string.format("to 0x%08x", buffer(4, 4):uint())
end

function dissect.RESET(buffer, tree)
  tree:add(f.receiver, buffer(4, 4))
  tree:add(f.counter, buffer(8, 8))
  return string.format("of 0x%08x, counter %s", buffer(4, 4):uint(),
    tostring(buffer(8, 8):uint64()))
end

local function sealed(buffer, tree)
  local length = buffer:len()
  tree:add(f.receiver, buffer(4, 4))
  tree:add(f.counter, buffer(8, 8))
  tree:add(f.sealed, buffer(16, length - 32))
  tree:add(f.tag, buffer(length - 16, 16))
  return string.format("to 0x%08x, counter %s, %d bytes", buffer(4, 4):uint(),
    tostring(buffer(8, 8):uint64()), length - 32)
end

function dissect.CONTROL(buffer, tree)
  return sealed(buffer, tree)
end

function dissect.BUNDLE(buffer, tree)
  tree:add(f.flags, buffer(2, 1))
  tree:add(f.csum, buffer(2, 1))
  return sealed(buffer, tree)
end

function dissect.DATA(buffer, tree)
  tree:add(f.index, buffer(1, 1))
  tree:add(f.spare, buffer(1, 1))
  tree:add(f.last, buffer(1, 1))
  tree:add(f.flags, buffer(2, 1))
  tree:add(f.csum, buffer(2, 1))
  local frag = buffer(1, 1):uint()
  local piece = ""
  if frag ~= 0x01 then
    local last = bit.band(frag, 1) == 1 and ", the last" or ""
    piece = string.format(", piece %d%s", bit.rshift(frag, 4), last)
  end
  return sealed(buffer, tree) .. piece
end

local function secure(buffer, pinfo, root)
  local kind = TYPES[buffer(0, 1):uint()]
  local tree = root:add(acton, buffer(), "acton/1 " .. kind.name)
  pinfo.cols.protocol = "acton/1"
  tree:add(f.type, buffer(0, 1))
  local why = fault(buffer)
  if why then
    tree:add_proto_expert_info(wrong[why])
    pinfo.cols.info = kind.name .. " that is wrong: " .. why
    if why == "length" then return buffer:len() end
  end
  if kind.name == "DATA" then
    tree:add(f.reserved, buffer(3, 1))
  elseif kind.name == "BUNDLE" then
    tree:add(f.reserved, buffer(1, 1))
    tree:add(f.reserved, buffer(3, 1))
  else
    tree:add(f.reserved, buffer(1, 3))
  end
  local info = dissect[kind.name](buffer, tree)
  tree:append_text(", " .. info)
  if not why then pinfo.cols.info = kind.name .. " " .. info end
  return buffer:len()
end

local function plain(buffer, pinfo, root)
  local length = buffer:len()
  local text = length > 0 and length < MIN_FRAME and buffer():string() or nil
  pinfo.cols.protocol = "acton plain"
  if text and CONTROL_TEXTS[text] then
    root:add(acton, buffer(), "acton plain mode, " .. text):add(f.plain, buffer())
    pinfo.cols.info = text
  elseif length < MIN_FRAME or length > MAX_DATAGRAM then
    local tree = root:add(acton, buffer(), "acton plain mode, neither control nor a frame")
    tree:add_proto_expert_info(wrong.unknown)
    pinfo.cols.info = "neither control nor a frame"
  else
    root:add(acton, buffer(), "acton plain mode, frame"):add(f.frame, buffer(), length)
    ethernet:call(buffer():tvb(), pinfo, root)
  end
  return length
end

function acton.dissector(buffer, pinfo, root)
  local mode = acton.prefs.mode
  if mode == PLAIN or mode == AUTO and not is_secure(buffer) then
    return plain(buffer, pinfo, root)
  end
  if buffer:len() == 0 or TYPES[buffer(0, 1):uint()] == nil then
    pinfo.cols.protocol = "acton/1"
    root:add(acton, buffer()):add_proto_expert_info(wrong.unknown)
    return buffer:len()
  end
  return secure(buffer, pinfo, root)
end

acton:register_heuristic("udp", function(buffer, pinfo, root)
  if not is_secure(buffer) then return false end
  secure(buffer, pinfo, root)
  return true
end)

local table_of_ports = DissectorTable.get("udp.port")
local port = acton.prefs.port
table_of_ports:add(port, acton)

function acton.prefs_changed()
  if port ~= acton.prefs.port then
    table_of_ports:remove(port, acton)
    port = acton.prefs.port
    table_of_ports:add(port, acton)
  end
end
