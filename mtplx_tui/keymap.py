"""Keys as data: what each does, where it works. Bindings, help and palette are made from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType

__all__ = [
    "BENCH",
    "CHAT",
    "CHATS",
    "DOCTOR",
    "EVERYWHERE",
    "KEYS_PAGE",
    "MODELS",
    "SCOPES",
    "SERVER",
    "SETTINGS",
    "SPECULATION",
    "THERMALS",
    "TRACE_PAIR",
    "TURN",
    "Key",
    "Scope",
    "bindings",
    "key_name",
]


@dataclass(frozen=True, slots=True)
class Key:
    """One action and the keys for it."""

    id: str
    keys: str
    """Textual's names, a comma between them."""
    action: str
    description: str
    is_priority: bool = False
    """Works before what has the focus sees the key; so keys typed ahead go where it leads."""


EVERYWHERE = (
    Key("app.chat", "f2,alt+1", "show_tab('chat')", "chat", is_priority=True),
    Key("app.speculation", "f3,alt+2", "show_tab('speculation')", "speculation", is_priority=True),
    Key("app.models", "f4,alt+3", "show_tab('models')", "models", is_priority=True),
    Key("app.thermals", "f5,alt+4", "show_tab('thermals')", "thermals", is_priority=True),
    Key("app.bench", "f6,alt+5", "show_tab('bench')", "bench", is_priority=True),
    Key("app.server", "f7,alt+6", "show_tab('server')", "server", is_priority=True),
    Key("app.settings", "f8,alt+7", "settings", "settings", is_priority=True),
    Key("app.doctor", "f9,alt+8", "doctor", "doctor: what is wrong here", is_priority=True),
    Key("app.fans", "f12,alt+0", "fans('automatic')", "fans: automatic", is_priority=True),
    Key("app.keys", "f1", "show_keys", "all keys"),
    Key("app.palette", "ctrl+p", "command_palette", "every action by name", is_priority=True),
    Key("app.open_model", "ctrl+o", "open_model", "open a model", is_priority=True),
    Key("app.cancel_load", "ctrl+x", "cancel_load", "cancel the load", is_priority=True),
    Key("app.restart", "ctrl+r", "restart_engine", "start the engine again", is_priority=True),
    Key("app.deeper", "alt+up,plus", "change_depth(1)", "draft one deeper"),
    Key("app.shallower", "alt+down,minus", "change_depth(-1)", "draft one less deep"),
    Key("app.auto_depth", "alt+a", "auto_depth", "let the engine choose the depth"),
    Key("app.set_up", "alt+s", "set_up", "set up: go on, or again", is_priority=True),
    Key("app.quit", "ctrl+q", "quit", "leave", is_priority=True),
)
CHAT = (
    Key("chat.stop", "escape", "back", "stop or back"),
    Key("chat.regenerate", "ctrl+g", "regenerate", "answer again", is_priority=True),
    Key("chat.copy", "ctrl+y", "copy", "copy the answer", is_priority=True),
    Key("chat.new", "ctrl+n", "new_chat", "new chat", is_priority=True),
    Key("chat.list", "ctrl+l", "toggle_list", "chats", is_priority=True),
    Key(
        "chat.sampling", "ctrl+b", "toggle_sampling", "system prompt and sampling", is_priority=True
    ),
    Key("chat.fold", "ctrl+t", "fold", "show or hide the thought", is_priority=True),
    Key("chat.find", "ctrl+f", "find", "find in this chat", is_priority=True),
    Key("chat.page_up", "pageup", "page(-1)", "page up", is_priority=True),
    Key("chat.page_down", "pagedown", "page(1)", "page down", is_priority=True),
    Key("chat.earlier", "ctrl+home", "earlier", "earlier turns", is_priority=True),
    Key("chat.latest", "ctrl+end", "latest", "newest text", is_priority=True),
)
TURN = (
    Key("turn.up", "up,k", "step(-1)", "previous"),
    Key("turn.down", "down,j", "step(1)", "next"),
    Key("turn.previous_branch", "left,h", "act('previous_branch')", "branch before"),
    Key("turn.next_branch", "right,l", "act('next_branch')", "next branch"),
    Key("turn.copy", "c,y", "act('copy')", "copy"),
    Key("turn.code", "b", "act('copy_code')", "code block"),
    Key("turn.save", "s", "act('save')", "save"),
    Key("turn.edit", "e", "act('edit')", "edit"),
    Key("turn.again", "r,g", "act('regenerate')", "again"),
    Key("turn.fold", "t,space", "act('fold')", "thought"),
    Key("turn.leave", "enter,tab,escape", "leave", "back to the prompt"),
)
CHATS = (
    Key("chats.rename", "r", "act('rename')", "rename"),
    Key("chats.delete", "d,delete", "act('delete')", "delete"),
    Key("chats.export", "x", "act('export')", "export"),
    Key("chats.search", "slash", "act('search')", "search"),
)
SPECULATION = (
    Key("speculation.pause", "space", "pause", "pause, or go on live"),
    Key("speculation.back", "left,h", "step(-1)", "one cycle back"),
    Key("speculation.forth", "right,l", "step(1)", "one cycle forth"),
    Key("speculation.first", "home", "first", "the first cycle"),
    Key("speculation.live", "end,escape", "live", "go on live"),
    Key("speculation.older", "left_square_bracket", "request(-1)", "the answer before"),
    Key("speculation.newer", "right_square_bracket", "request(1)", "the answer after"),
    Key("speculation.next_draft", "tab", "pick_draft(1)", "under the x-ray: the next draft"),
    Key(
        "speculation.last_draft", "shift+tab", "pick_draft(-1)", "under the x-ray: the draft before"
    ),
    Key("speculation.xray", "x", "toggle_xray", "record what drafts are judged by, or no more"),
    Key("speculation.forecast", "p", "toggle_forecast", "what each depth would give"),
    Key("speculation.save", "s", "save_trace", "save this answer as a trace"),
    Key("speculation.open", "o", "open_trace", "replay a trace"),
    Key("speculation.beside", "c", "compare", "lay a trace beside this answer"),
    Key("speculation.slower", "comma", "change_speed(-1)", "replay slower"),
    Key("speculation.faster", "full_stop", "change_speed(1)", "replay faster"),
    Key("speculation.drafts", "d", "toggle_drafts", "show or hide rejected drafts"),
    Key("speculation.find", "slash,ctrl+f", "find", "find in this answer"),
    Key("speculation.up", "up,k", "scroll(-1)", "scroll up"),
    Key("speculation.down", "down,j", "scroll(1)", "scroll down"),
    Key("speculation.page_up", "pageup", "page(-1)", "page up"),
    Key("speculation.page_down", "pagedown", "page(1)", "page down"),
)
THERMALS = (
    Key("thermals.automatic", "a", "app.fans('automatic')", "fans: the machine's own control"),
    Key("thermals.boost", "b", "app.fans('boost')", "fans: faster while answering"),
    Key("thermals.maximum", "m", "app.fans('maximum')", "fans: maximum for the whole run"),
    Key("thermals.span", "g", "span", "last minutes, or the whole run"),
    Key("thermals.sensors", "s", "sensors", "all sensors, or the curves"),
)

BENCH = (
    Key("bench.run", "enter", "run", "measure"),
    Key("bench.back", "escape", "back", "stop at once, or close a result"),
    Key("bench.kinds", "k", "choose('kinds')", "other kinds of prompts"),
    Key("bench.depths", "d", "choose('depths')", "other depths"),
    Key("bench.prompts", "p", "choose('prompts')", "another number of prompts"),
    Key("bench.tokens", "t", "choose('tokens')", "longer or shorter answers"),
    Key("bench.previous", "left", "kind(-1)", "show the kind before"),
    Key("bench.next", "right", "kind(1)", "show the next kind"),
    Key("bench.open", "o", "open", "open an earlier result"),
    Key("bench.compare", "c", "compare", "compare with an earlier result"),
)
MODELS = (
    Key("models.search", "slash", "search", "search", is_priority=True),
    Key("models.list", "escape", "list", "to the list"),
    Key("models.card", "c", "card", "to the card and back"),
    Key("models.download", "d", "download", "download"),
    Key("models.pause", "p", "pause", "pause a download, or go on"),
    Key("models.delete", "x,delete", "delete", "delete"),
    Key("models.readme", "r", "readme", "show or hide the README"),
    Key("models.here", "l", "switch('here')", "the hub, or this machine"),
    Key("models.mlx", "m", "switch('mlx')", "MLX models only, or all"),
    Key("models.head", "h", "switch('head')", "those with a head only, or all"),
    Key("models.fit", "f", "switch('fit')", "those that fit only, or all"),
    Key("models.sort", "o", "switch('sort')", "another order"),
    Key("models.author", "a", "narrow('author')", "one author's models only, or all"),
    Key("models.family", "t", "narrow('family')", "one type of model only, or all"),
    Key("models.packing", "q", "narrow('packing')", "one quantisation only, or all"),
    Key("models.certify", "v", "certify", "verify: does drafting change what it says?"),
    Key("models.graft", "g", "graft", "give it the head of its original release"),
    Key("models.limit", "b", "limit", "how fast downloads may be"),
)
SERVER = (
    Key("server.switch", "enter", "switch", "start, or stop"),
    Key("server.address", "a", "address", "another address or port"),
    Key("server.want_key", "n", "want_key", "a key wanted on this machine too, or not"),
    Key("server.show_key", "k", "show_key", "show or hide the key"),
    Key("server.copy_settings", "y", "copy_settings", "copy the client's settings"),
    Key("server.copy_address", "u", "copy_address", "copy the address"),
    Key("server.previous", "left", "client(-1)", "the client before"),
    Key("server.next", "right", "client(1)", "the next client"),
    Key("server.up", "up", "choose(-1)", "mark the request above"),
    Key("server.down", "down", "choose(1)", "mark the request below"),
    Key("server.prompt", "w", "show_prompt", "what the model saw of it"),
    Key("server.cancel", "x", "cancel", "cancel the marked request"),
)
DOCTOR = (
    Key("doctor.close", "escape,q", "close", "back to the tab"),
    Key("doctor.again", "r", "again", "look again"),
    Key("doctor.save", "s", "save", "save a report to send along"),
)
TRACE_PAIR = (
    Key("pair.close", "escape,q", "close", "back to the tab"),
    Key("pair.up", "up,k", "scroll(-1)", "scroll up"),
    Key("pair.down", "down,j", "scroll(1)", "scroll down"),
    Key("pair.page_up", "pageup", "page(-1)", "page up"),
    Key("pair.page_down", "pagedown", "page(1)", "page down"),
)
SETTINGS = (
    Key("settings.change", "enter,space", "change", "change"),
    Key("settings.reset", "r,delete", "reset", "back to the default"),
    Key("settings.keys", "k", "keys", "the keys, to be changed"),
    Key("settings.close", "escape,q", "close", "close the settings"),
)
KEYS_PAGE = (
    Key("keys.change", "enter", "change", "press another key for it"),
    Key("keys.add", "a", "add", "press one more key for it"),
    Key("keys.reset", "r,delete", "reset", "its own keys again"),
    Key("keys.reset_all", "x", "reset_all", "all keys as they were"),
    Key("keys.close", "escape,q", "close", "back to the settings"),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Keys that work in one place."""

    title: str
    keys: tuple[Key, ...]
    inside: str = ""
    """The title of the scope around it, whose keys work here too unless this one has them."""


SCOPES = (
    Scope("Everywhere", EVERYWHERE),
    Scope("Chat", CHAT),
    Scope("A turn of a chat", TURN, "Chat"),
    Scope("The list of chats", CHATS, "Chat"),
    Scope("Speculation", SPECULATION),
    Scope("Two traces", TRACE_PAIR),
    Scope("Models", MODELS),
    Scope("Thermals", THERMALS),
    Scope("Bench", BENCH),
    Scope("Server", SERVER),
    Scope("Settings", SETTINGS),
    Scope("Keys", KEYS_PAGE),
    Scope("Doctor", DOCTOR),
)


def bindings(keys: Iterable[Key]) -> list[BindingType]:
    """Return the keys as Textual takes them."""
    return [
        Binding(key.keys, key.action, key.description, id=key.id, priority=key.is_priority)
        for key in keys
    ]


_NAMES = {
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "minus": "-",
    "slash": "/",
    "comma": ",",
    "full_stop": ".",
    "pageup": "page up",
    "pagedown": "page down",
    "escape": "esc",
}


def key_name(key: str) -> str:
    """Return what a key is called on a keyboard."""
    modifiers, _, plain = key.rpartition("+")
    name = _NAMES.get(plain, plain)
    name = name.upper() if name[:1] == "f" and name[1:].isdigit() else name
    return f"{modifiers}+{name}" if modifiers else name
