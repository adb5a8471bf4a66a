"""What crosses the door between a front end and the engine process: commands in, events out.

Everything here is frozen and made of str, int, float, bool, None, enums, tuples and other
frozen dataclasses, so a message can neither change on the way nor hide an array. Events carry
facts, never rates; whoever wants a rate computes it (`mtplx_tui.view`). Standard library only.
"""

from __future__ import annotations

from engine.protocol.certificates import (
    Certificate,
    CheckResult,
    LawCheck,
    Verdict,
)
from engine.protocol.commands import (
    Cancel,
    CancelLoad,
    Certify,
    CountTokens,
    Generate,
    LimitPrefixes,
    LoadModel,
    SetDepth,
    SetDetail,
    ShowPrompt,
    Shutdown,
)
from engine.protocol.events import (
    CertifyDone,
    CertifyProgress,
    CycleDone,
    DepthSet,
    EngineFailed,
    EngineStarted,
    LoadCancelled,
    LoadFailed,
    LoadProgress,
    ModelLoaded,
    PrefillProgress,
    PrefixesKept,
    PrefixReused,
    PromptShown,
    RequestDone,
    RequestFailed,
    RequestStarted,
    Reread,
    TokensCounted,
)
from engine.protocol.values import (
    MAX_DEPTH,
    MAX_LOGPROBS,
    Channel,
    ChatMessage,
    Constraints,
    Ended,
    ErrorInfo,
    Finish,
    GrammarKind,
    HeadInfo,
    Mode,
    ModelInfo,
    Role,
    Sampling,
    TokenBias,
    ToolCall,
    check_depth,
)
from engine.protocol.windows import (
    Candidate,
    DraftDetail,
    TextRun,
    TokenLogprob,
    WindowDetail,
)

__all__ = [
    "COMMANDS",
    "EVENTS",
    "MAX_DEPTH",
    "MAX_LOGPROBS",
    "PROTOCOL_VERSION",
    "Cancel",
    "CancelLoad",
    "Candidate",
    "Certificate",
    "Certify",
    "CertifyDone",
    "CertifyProgress",
    "Channel",
    "ChatMessage",
    "CheckResult",
    "Command",
    "Constraints",
    "CountTokens",
    "CycleDone",
    "DepthSet",
    "DraftDetail",
    "Ended",
    "EngineFailed",
    "EngineStarted",
    "ErrorInfo",
    "Event",
    "Finish",
    "Generate",
    "GrammarKind",
    "HeadInfo",
    "LawCheck",
    "LimitPrefixes",
    "LoadCancelled",
    "LoadFailed",
    "LoadModel",
    "LoadProgress",
    "Mode",
    "ModelInfo",
    "ModelLoaded",
    "PrefillProgress",
    "PrefixReused",
    "PrefixesKept",
    "PromptShown",
    "RequestDone",
    "RequestFailed",
    "RequestStarted",
    "Reread",
    "Role",
    "Sampling",
    "SetDepth",
    "SetDetail",
    "ShowPrompt",
    "Shutdown",
    "TextRun",
    "TokenBias",
    "TokenLogprob",
    "TokensCounted",
    "ToolCall",
    "Verdict",
    "WindowDetail",
    "check_depth",
]

PROTOCOL_VERSION = 4

Command = (
    LoadModel
    | CancelLoad
    | Generate
    | SetDepth
    | SetDetail
    | CountTokens
    | ShowPrompt
    | LimitPrefixes
    | Cancel
    | Certify
    | Shutdown
)
COMMANDS: tuple[type, ...] = (
    LoadModel,
    CancelLoad,
    Generate,
    SetDepth,
    SetDetail,
    CountTokens,
    ShowPrompt,
    LimitPrefixes,
    Cancel,
    Certify,
    Shutdown,
)

Event = (
    EngineStarted
    | EngineFailed
    | LoadProgress
    | LoadFailed
    | LoadCancelled
    | ModelLoaded
    | RequestStarted
    | PrefixReused
    | PrefillProgress
    | DepthSet
    | CycleDone
    | RequestDone
    | RequestFailed
    | TokensCounted
    | PromptShown
    | PrefixesKept
    | CertifyProgress
    | CertifyDone
)
EVENTS: tuple[type, ...] = (
    EngineStarted,
    EngineFailed,
    LoadProgress,
    LoadFailed,
    LoadCancelled,
    ModelLoaded,
    RequestStarted,
    PrefixReused,
    PrefillProgress,
    DepthSet,
    CycleDone,
    RequestDone,
    RequestFailed,
    TokensCounted,
    PromptShown,
    PrefixesKept,
    CertifyProgress,
    CertifyDone,
)
