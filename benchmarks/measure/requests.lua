-- What one wrk thread sends, told by the environment: KIND (get, create, apply), TARGET (path), TOKEN, RUN (unique in this run).
local kind, target, run = os.getenv("KIND"), os.getenv("TARGET"), os.getenv("RUN")
local headers = { ["Authorization"] = "Bearer " .. os.getenv("TOKEN") }
local sent = 0
local value = string.rep("v", 100)
local config_map = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s","labels":{"bench":"yes"}},"data":{"key":"%s"}}'
local fixed

function init(args)
  if kind == "get" then
    fixed = wrk.format("GET", target, headers)
  elseif kind == "create" then
    headers["Content-Type"] = "application/json"
  else
    headers["Content-Type"] = "application/apply-patch+yaml"
  end
end

function request()
  if fixed then return fixed end
  sent = sent + 1
  if kind == "create" then
    return wrk.format("POST", target, headers, string.format(config_map, run .. "-" .. sent, value))
  end
  -- apply: a new value for one of a hundred objects, in turn
  local name = "apply-" .. (sent % 100)
  return wrk.format("PATCH", target .. "/" .. name .. "?fieldManager=bench&force=true", headers,
    string.format(config_map, name, value .. run .. sent))
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("SUMMARY %d %d %d %d\n", summary.requests, summary.duration,
    e.status + e.connect + e.read + e.write + e.timeout, summary.bytes))
end
