import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("operator_app", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Book",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sku", models.CharField(max_length=20, unique=True, verbose_name="SKU")),
                ("title", models.CharField(max_length=200)),
                ("author", models.CharField(max_length=100)),
                ("year", models.PositiveSmallIntegerField()),
                ("price_cents", models.PositiveIntegerField()),
                ("cost_cents", models.PositiveIntegerField()),
                ("stock", models.PositiveIntegerField(default=0)),
                ("margin_percent", models.SmallIntegerField(blank=True, null=True)),
                ("delivery_days", models.PositiveSmallIntegerField(blank=True, null=True)),
            ],
            options={
                "ordering": ["title"],
            },
        ),
        migrations.CreateModel(
            name="Customer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("email", models.EmailField(max_length=254, unique=True)),
                (
                    "rank",
                    models.CharField(
                        choices=[
                            ("beginner", "Beginner"),
                            ("reader", "Reader"),
                            ("bookworm", "Bookworm"),
                        ],
                        default="beginner",
                        max_length=20,
                    ),
                ),
                ("joined_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="ExchangeRate",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("currency", models.CharField(max_length=3, unique=True)),
                ("rate", models.DecimalField(decimal_places=4, max_digits=12)),
                ("fetched_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["currency"],
            },
        ),
        migrations.CreateModel(
            name="FetchRate",
            fields=[
                (
                    "operation_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="operator_app.operation",
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
            ],
            options={
                "abstract": False,
            },
            bases=("operator_app.operation",),
        ),
        migrations.CreateModel(
            name="ImportCatalogue",
            fields=[
                (
                    "operation_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="operator_app.operation",
                    ),
                ),
                ("file_name", models.CharField(default="catalogue.csv", max_length=100)),
                ("books_created", models.PositiveIntegerField(default=0, editable=False)),
                ("books_updated", models.PositiveIntegerField(default=0, editable=False)),
            ],
            options={
                "abstract": False,
            },
            bases=("operator_app.operation",),
        ),
        migrations.CreateModel(
            name="UpdateStock",
            fields=[
                (
                    "operation_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="operator_app.operation",
                    ),
                ),
                ("wholesaler", models.CharField(max_length=50)),
                ("books_updated", models.PositiveIntegerField(default=0, editable=False)),
            ],
            options={
                "abstract": False,
            },
            bases=("operator_app.operation",),
        ),
        migrations.CreateModel(
            name="SweepBaskets",
            fields=[],
            options={
                "verbose_name_plural": "sweep baskets",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("operator_app.operation",),
        ),
        migrations.CreateModel(
            name="AskDelivery",
            fields=[
                (
                    "operation_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="operator_app.operation",
                    ),
                ),
                (
                    "book",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="shop.book"),
                ),
            ],
            options={
                "verbose_name_plural": "ask delivery",
            },
            bases=("operator_app.operation",),
        ),
        migrations.CreateModel(
            name="ComputeMargin",
            fields=[
                (
                    "operation_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="operator_app.operation",
                    ),
                ),
                (
                    "book",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="shop.book"),
                ),
            ],
            options={
                "abstract": False,
            },
            bases=("operator_app.operation",),
        ),
        migrations.CreateModel(
            name="Basket",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("filled_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("paid_at", models.DateTimeField(blank=True, null=True)),
                ("books", models.ManyToManyField(related_name="baskets", to="shop.book")),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="baskets",
                        to="shop.customer",
                    ),
                ),
            ],
            options={
                "ordering": ["-filled_at"],
            },
        ),
        migrations.CreateModel(
            name="RankUp",
            fields=[
                (
                    "operation_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="operator_app.operation",
                    ),
                ),
                (
                    "rank",
                    models.CharField(
                        choices=[
                            ("beginner", "Beginner"),
                            ("reader", "Reader"),
                            ("bookworm", "Bookworm"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="shop.customer"
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
            bases=("operator_app.operation",),
        ),
        migrations.CreateModel(
            name="RemindBasket",
            fields=[
                (
                    "operation_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="operator_app.operation",
                    ),
                ),
                (
                    "basket",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="shop.basket"
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
            bases=("operator_app.operation",),
        ),
        migrations.CreateModel(
            name="WelcomeMail",
            fields=[
                (
                    "operation_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="operator_app.operation",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="shop.customer"
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
            bases=("operator_app.operation",),
        ),
    ]
