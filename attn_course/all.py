"Every public name of the course, for notebooks: `from attn_course.all import *`."
from attn_course.render import *
from attn_course.plot import *
from attn_course.scenes import *
from attn_course.data import *
from attn_course.widgets import *
from attn_course.exercise import *
from attn_course.study import *
from attn_course.metrics import *
from attn_course.capture import *
from attn_course.attention import *
from attn_course.spatial import *
from attn_course.channel import *
from attn_course.selfattention import *
from attn_course.attach import *
from attn_course.cam import *
from attn_course.interpret import *
from attn_course.unet import *
