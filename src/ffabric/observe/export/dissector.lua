-- Wireshark dissector for the captures of ffabric: calls of Arm's FF-A, and virtio-msg in them.
-- The tables are ffabric's own. Use: wireshark -X lua_script:THIS FILE CAPTURE

local functions = {
$functions
}
local statuses = { $statuses }
local messages = { $messages }
local services = {}
for _, uuid in ipairs({ $services }) do services[uuid] = true end

local kinds = { [0] = "call", [1] = "resumes with", [2] = "call at the SPMC", [3] = "entry" }
local REGISTERS, NAME = 12, 156
local ERROR, SEND2 = 0x84000060, 0x84000086
local REQ2, RESP2 = 0xc400008d, 0xc400008e

local ffa = Proto("ffa", "Arm Firmware Framework for A-profile")
local f = ffa.fields
f.kind = ProtoField.uint8("ffa.kind", "Kind", base.DEC, kinds)
f.secure = ProtoField.bool("ffa.secure", "Secure world")
f.endpoint = ProtoField.uint16("ffa.endpoint", "Endpoint", base.HEX)
f.vcpu = ProtoField.uint16("ffa.vcpu", "vCPU", base.DEC)
f.name = ProtoField.string("ffa.name", "Name")
f.id = ProtoField.uint32("ffa.function", "Function", base.HEX)
f.call = ProtoField.string("ffa.call", "Function")
f.status = ProtoField.int32("ffa.status", "Status", base.DEC, statuses)
f.field = ProtoField.uint64("ffa.field", "Field", base.HEX)
f.register = ProtoField.uint64("ffa.register", "Register", base.HEX)
f.tx = ProtoField.bytes("ffa.tx", "TX")

local msg = Proto("virtio_msg", "virtio-msg")
local m = msg.fields
m.response = ProtoField.bool("virtio_msg.response", "Response")
m.bus = ProtoField.bool("virtio_msg.bus", "Bus message")
m.id = ProtoField.uint8("virtio_msg.id", "Message", base.HEX)
m.name = ProtoField.string("virtio_msg.name", "Message")
m.device = ProtoField.uint16("virtio_msg.device", "Device", base.DEC)
m.token = ProtoField.uint16("virtio_msg.token", "Token", base.HEX)
m.size = ProtoField.uint16("virtio_msg.size", "Size", base.DEC)
m.payload = ProtoField.bytes("virtio_msg.payload", "Payload")

local function field(tree, range, which, register)
  local name, _, low, high = which[1], which[2], which[3], which[4]
  local value = register:rshift(low)
  if high - low < 63 then value = value:band(UInt64(0xffffffff, 0xffffffff):rshift(63 - (high - low))) end
  tree:add_le(f.field, range):set_text(string.format("%s: 0x%s", name, value:tohex():gsub("^0+(.)", "%1")))
end

function msg.dissector(tvb, pinfo, tree)
  if tvb:len() < 8 then return 0 end
  local kind, id, size = tvb(0, 1):uint(), tvb(1, 1):uint(), tvb(6, 2):le_uint()
  local is_bus = kind % 4 >= 2
  local taken = is_bus and kind % 2 == 1 and id == 0 and "event taken"
  local name = taken or messages[is_bus][id] or string.format("message 0x%02x", id)
  local branch = tree:add(msg, tvb(0, math.max(8, math.min(size, tvb:len()))))
  branch:append_text(string.format(": %s%s, device %d", name, kind % 2 == 1 and " response" or "", tvb(2, 2):le_uint()))
  branch:add(m.response, tvb(0, 1), kind % 2 == 1)
  branch:add(m.bus, tvb(0, 1), is_bus)
  branch:add(m.id, tvb(1, 1))
  branch:add(m.name, tvb(1, 1), name)
  branch:add_le(m.device, tvb(2, 2))
  branch:add_le(m.token, tvb(4, 2))
  branch:add_le(m.size, tvb(6, 2))
  if size > 8 and size <= tvb:len() then branch:add(m.payload, tvb(8, size - 8)) end
  pinfo.cols.info:append(" | " .. name .. (kind % 2 == 1 and not taken and " response" or ""))
  return tvb:len()
end

-- A UUID as FF-A has it in two registers: its sixteen bytes in order.
local function uuid_of(range)
  local hex = tostring(range:bytes()):lower()
  return string.format("%s-%s-%s-%s-%s", hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21))
end

-- Packets come in order once. After that they come in any order, and again: what is known of one from
-- those before it is kept by its number.
local interface = Field.new("frame.interface_id")
local named = {}  -- by PE and receiver: whether its service is virtio-msg, as the last request said
local carries = {}  -- by packet: whether its registers carry a message of virtio-msg

function ffa.init()
  named, carries = {}, {}
end

local function carries_message(tvb, pinfo, x0)
  if pinfo.visited then return carries[pinfo.number] end
  local x1 = tvb(REGISTERS + 8, 4):le_uint()
  local sender, receiver = math.floor(x1 / 0x10000), x1 % 0x10000
  local pe = interface()
  local place = pe and pe.value * 0x10000 or 0
  local found
  if x0 == REQ2 then
    found = services[uuid_of(tvb(REGISTERS + 16, 16))]
    named[place + receiver] = found
  elseif x0 == RESP2 then
    found = named[place + sender]
  end
  carries[pinfo.number] = found
  return found
end

local function registers(tvb, tree, count)
  local branch = tree:add(tvb(REGISTERS, 8 * count), "Registers")
  for n = 0, count - 1 do
    local range = tvb(REGISTERS + 8 * n, 8)
    branch:add_le(f.register, range):prepend_text(string.format("x%d ", n))
  end
end

function ffa.dissector(tvb, pinfo, tree)
  if tvb:len() < NAME or tvb(0, 1):uint() ~= 1 then return 0 end
  local count, length, sent = tvb(3, 1):uint(), tvb(8, 2):le_uint(), tvb(10, 2):le_uint()
  if tvb:len() < NAME + length + sent then return 0 end
  pinfo.cols.protocol = "FF-A"
  local kind, x0 = tvb(1, 1):uint(), tvb(REGISTERS, 4):le_uint()
  local who = length > 0 and tvb(NAME, length):string() or "?"
  local known = functions[x0]
  local name = known and known[1] or string.format("0x%08x", x0)
  local branch = tree:add(ffa, tvb())
  branch:append_text(string.format(": %s %s, %s.%d", name, kinds[kind] or "?", who, tvb(6, 2):le_uint()))
  branch:add(f.kind, tvb(1, 1))
  branch:add(f.secure, tvb(2, 1), tvb(2, 1):uint() == 1)
  branch:add_le(f.endpoint, tvb(4, 2))
  branch:add_le(f.vcpu, tvb(6, 2))
  branch:add(f.name, tvb(NAME, length))
  branch:add_le(f.id, tvb(REGISTERS, 4))
  branch:add(f.call, tvb(REGISTERS, 4), name)
  local info = name
  if x0 == ERROR then
    local status = tvb(REGISTERS + 16, 4):le_int()
    branch:add_le(f.status, tvb(REGISTERS + 16, 4))
    info = info .. " " .. (statuses[status] or status)
  end
  pinfo.cols.src, pinfo.cols.info = string.format("%s.%d", who, tvb(6, 2):le_uint()), (kind == 1 and "< " or "> ") .. info
  for _, which in ipairs(known and known[2] or {}) do
    local range = tvb(REGISTERS + 8 * which[2], 8)
    field(branch, range, which, range:le_uint64())
  end
  registers(tvb, branch, count)
  if carries_message(tvb, pinfo, x0) then
    msg.dissector(tvb(REGISTERS + 32, 112):tvb(), pinfo, branch)
  end
  if sent > 0 then
    local range = tvb(NAME + length, sent)
    branch:add(f.tx, range)
    if x0 == SEND2 and sent > 40 and services[uuid_of(range(24, 16))] then
      local offset = range(8, 4):le_uint()
      if offset < sent then msg.dissector(range(offset, sent - offset):tvb(), pinfo, branch) end
    end
  end
  return tvb:len()
end

DissectorTable.get("wtap_encap"):add(45, ffa)  -- USER0
